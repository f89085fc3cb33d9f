"""Generated from proto/aiki/v1 by `make protos`; never edit what stands here by hand."""
