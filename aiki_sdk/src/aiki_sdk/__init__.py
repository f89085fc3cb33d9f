"""Aiki, a durable workflow engine: what authors of tasks and workflows import."""
