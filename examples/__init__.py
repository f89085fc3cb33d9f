"""Programs that show Aiki at work; each is run by a test."""
