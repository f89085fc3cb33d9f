"""What is served to browsers, probes and scrapers, beside gRPC."""
