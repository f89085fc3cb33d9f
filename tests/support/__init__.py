"""What tests share: stores, sessions, waiting."""
