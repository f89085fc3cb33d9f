"""Who waits here for a run to change or end: events that are set, and looked at again by those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager


class Waiters:
    """Nothing here is truth: whoever is woken looks at the store."""

    def __init__(self) -> None:
        self._ended: dict[str, set[asyncio.Event]] = {}
        self._grown: dict[str, set[asyncio.Event]] = {}
        self.when_grown: Callable[[str], None] = lambda _: None
        """Told of each run that grows here."""

    @contextmanager
    def ending(self, run_id: str) -> Generator[asyncio.Event]:
        """An event that is set when the run may have closed, stalled or answered, or this coordinator goes."""
        with _registered(self._ended, run_id) as event:
            yield event

    @contextmanager
    def growing(self, run_id: str) -> Generator[asyncio.Event]:
        """An event that is set when the run's history may have grown."""
        with _registered(self._grown, run_id) as event:
            yield event

    def grew(self, run_id: str) -> None:
        """The history has grown."""
        self.when_grown(run_id)
        self.grew_elsewhere(run_id)

    def grew_elsewhere(self, run_id: str) -> None:
        """The history has grown, through another coordinator."""
        for event in self._grown.get(run_id, ()):
            event.set()

    def ended(self, run_id: str) -> None:
        """The run has closed, stalled or answered."""
        for event in self._ended.get(run_id, ()):
            event.set()
        self.grew_elsewhere(run_id)

    def wake_all(self) -> None:
        """This coordinator goes."""
        for events in (*self._ended.values(), *self._grown.values()):
            for event in events:
                event.set()


@contextmanager
def _registered(registry: dict[str, set[asyncio.Event]], run_id: str) -> Generator[asyncio.Event]:
    event = asyncio.Event()
    registry.setdefault(run_id, set()).add(event)
    try:
        yield event
    finally:
        events = registry[run_id]
        events.discard(event)
        if not events:
            del registry[run_id]
