"""Define Aiki tasks: retry policies, payloads, errors."""
