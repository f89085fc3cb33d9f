"""Signals that a run has received: kept until somebody waits for them, in order of arrival."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from aiki_workflow.loop import RunFuture

if TYPE_CHECKING:
    from aiki_workflow import events
    from aiki_workflow.loop import RunLoop


class Inbox:
    """Each signal is taken once, by the waiter that came first."""

    def __init__(self, loop: RunLoop) -> None:
        self._loop = loop
        self._arrived = 0
        self._unread: dict[str, deque[tuple[int, events.SignalReceived]]] = {}
        self._waiters: dict[str, deque[RunFuture[events.SignalReceived]]] = {}

    def receive(self, event: events.SignalReceived) -> None:
        """A signal came."""
        waiters = self._waiters.get(event.name)
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(event)
                return
        self._arrived += 1
        self._unread.setdefault(event.name, deque()).append((self._arrived, event))

    def take(self, name: str) -> events.SignalReceived | None:
        """The oldest unread signal of this name."""
        unread = self._unread.get(name)
        return unread.popleft()[1] if unread else None

    def wait(self, name: str) -> RunFuture[events.SignalReceived]:
        """The next signal of this name."""
        future = RunFuture["events.SignalReceived"](loop=self._loop)
        self._waiters.setdefault(name, deque()).append(future)
        return future

    def give_up(self, name: str, future: RunFuture[events.SignalReceived]) -> None:
        """A waiter was stopped: what it was given in the same turn is the next one's."""
        if future.done() and not future.cancelled():
            self._unread.setdefault(name, deque()).appendleft((0, future.result()))

    def unread(self) -> tuple[events.SignalReceived, ...]:
        """What nobody has waited for, in order of arrival."""
        kept = [entry for entries in self._unread.values() for entry in entries]
        return tuple(event for _, event in sorted(kept, key=lambda entry: entry[0]))
