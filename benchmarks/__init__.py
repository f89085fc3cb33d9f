"""What Aiki costs on this machine: `make bench`."""
