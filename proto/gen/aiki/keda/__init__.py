"""Generated from proto/aiki/keda by `make protos`; never edit what stands here by hand."""
