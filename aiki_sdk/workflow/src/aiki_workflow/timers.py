"""The timers of one run: handles of its loop, made durable by commands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiki_workflow import events

if TYPE_CHECKING:
    from aiki_workflow.engine import RunEngine


class RunTimers:
    """Invariant: a handle that is open has exactly one address."""

    def __init__(self, engine: RunEngine) -> None:
        self._engine = engine
        self._handles: dict[str, asyncio.TimerHandle] = {}
        self._addresses: dict[asyncio.TimerHandle, str] = {}
        self._due_ms: dict[str, int] = {}

    def start(self, handle: asyncio.TimerHandle, name: str = "") -> None:
        """Issue a timer; named by its duration unless it has a *name*."""
        engine = self._engine
        now_ms = engine.loop.now_ms
        due_ms = round(handle.when() * 1000)
        address = engine.addresses.numbered(name or f"sleep/{due_ms - now_ms}ms")
        self._handles[address] = handle
        self._addresses[handle] = address
        self._due_ms[address] = due_ms
        engine.issue(events.TimerStarted(now_ms, address, due_ms))

    def start_named(self, name: str, due_ms: int, callback: Callable[[], None]) -> asyncio.TimerHandle:
        """Call *callback* at *due_ms*, in this turn if that has passed."""
        loop = self._engine.loop
        handle = asyncio.TimerHandle(due_ms / 1000, callback, (), loop)
        if due_ms <= loop.now_ms:
            loop.make_ready(handle)
        else:
            handle._scheduled = True  # type: ignore[attr-defined]  # as call_at does it
            self.start(handle, name)
        return handle

    def cancel(self, handle: asyncio.TimerHandle) -> None:
        """Issue the cancellation of a timer that has not fired."""
        address = self._addresses.pop(handle, None)
        if address is not None and self._handles.pop(address, None) is not None:
            del self._due_ms[address]
            self._engine.issue(events.TimerCancelled(self._engine.loop.now_ms, address))

    def fire(self, address: str) -> None:
        """Run what the timer was for; nothing when it is not wanted any more."""
        handle = self._handles.pop(address, None)
        if handle is not None:
            del self._addresses[handle], self._due_ms[address]
            self._engine.loop.make_ready(handle)

    def rescheduled(self, address: str, due_ms: int) -> None:
        """Somebody changed when it fires."""
        if address in self._due_ms:
            self._due_ms[address] = due_ms

    def move_all(self, by_ms: int) -> None:
        """The run stood still: every timer fires later."""
        for address in self._due_ms:
            self._due_ms[address] += by_ms
            self._engine.issue(events.TimerMoved(self._engine.loop.now_ms, address, self._due_ms[address]))

    def clear(self) -> None:
        """The run is evicted."""
        self._handles.clear()
