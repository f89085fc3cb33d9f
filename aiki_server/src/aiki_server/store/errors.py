"""What can go wrong with the store.

    StoreError
    ├── StoreUnavailableError   not reachable, or not answering for now; the call may have taken effect
    ├── StoreUnsafeError        would lose acknowledged work, or belongs to another cluster
    └── StoreFullError          out of memory; nothing new is taken, what runs goes on
"""

from __future__ import annotations


class StoreError(Exception):
    """Anything that is wrong with the store."""


class StoreUnavailableError(StoreError):
    """The store cannot be reached now. Every call is idempotent: ask again."""


class StoreUnsafeError(StoreError):
    """The store would lose acknowledged work, or is not this cluster's; `problems` has a sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class StoreFullError(StoreError):
    """The store is out of memory: give it more, or let it purge closed runs."""
