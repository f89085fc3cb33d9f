"""Commands that read authors' code rather than serve it."""
