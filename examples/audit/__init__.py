"""Verify the integrity of a real Python environment, durably and on several workers."""
