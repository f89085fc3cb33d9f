"""The Aiki coordinator: keeps runs in Redis or Valkey and leases work to workers."""
