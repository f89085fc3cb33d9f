"""Start, watch and steer Aiki workflows; the aiki command."""
