"""What an operator sees from outside: traces, metrics, logs. Knows nothing of what it tells about."""
