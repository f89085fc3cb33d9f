"""Decisions, in pure code: no I/O, no clock, no asyncio, nothing else of ours."""
