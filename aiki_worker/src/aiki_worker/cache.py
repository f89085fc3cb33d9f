"""Runs as they stood when they were released, so that waking them costs only what is new.

Invariant: what is given back stands exactly at the acknowledged release that its mark names.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What is cached; closing gives its memory back."""

    def close(self) -> None: ...


E = TypeVar("E", bound=Closable)


@dataclass(frozen=True, slots=True)
class Mark:
    """An acknowledged release: the lease that ended with it, and the length of the history."""

    epoch: int
    nonce: str
    length: int


class RunCache(Generic[E]):
    """The most recently released runs, by run id."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[str, tuple[Mark, E]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, run_id: str, mark: Mark, engine: E) -> None:
        """Keep *engine*; the one that was released longest ago goes when there are too many."""
        self.drop(run_id)
        self._entries[run_id] = mark, engine
        while len(self._entries) > self._size:
            _, (_, oldest) = self._entries.popitem(last=False)
            oldest.close()

    def take(self, run_id: str, *, epoch: int, first_index: int) -> E | None:
        """The run, if it stands at *first_index* and no lease came between; else it is dropped.

        Args:
            run_id: which run.
            epoch: of the new lease.
            first_index: where the coordinator takes the worker to be.
        """
        entry = self._entries.pop(run_id, None)
        if entry is None:
            return None
        mark, engine = entry
        if mark.length == first_index and mark.epoch + 1 == epoch:
            return engine
        engine.close()
        return None

    def look(self, run_id: str, length: int) -> E | None:
        """The run, if it stands at *length* or beyond; it stays here."""
        entry = self._entries.get(run_id)
        return entry[1] if entry is not None and entry[0].length >= length else None

    def drop(self, run_id: str) -> None:
        """Forget a run."""
        entry = self._entries.pop(run_id, None)
        if entry is not None:
            entry[1].close()

    def clear(self) -> None:
        """Forget all."""
        while self._entries:
            self._entries.popitem()[1][1].close()
