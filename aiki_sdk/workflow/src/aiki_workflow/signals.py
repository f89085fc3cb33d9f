"""Signals: typed messages to a run, kept until somebody waits for them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final, Generic, TypeVar, overload

from typing_extensions import TypeForm

from aiki_task.durations import Duration, parse
from aiki_task.payloads import ValueCodec
from aiki_workflow.api import current_engine
from aiki_workflow.loop import RunFuture

T = TypeVar("T")
D = TypeVar("D")


class _Missing:
    pass


_MISSING: Final = _Missing()


class Signal(Generic[T]):
    """A signal by name; made by `signal`."""

    def __init__(self, name: str, hint: TypeForm[T]) -> None:
        self.name = name
        self.codec = ValueCodec(hint, f"signal {name!r}")

    @overload
    async def wait(self, *, timeout: Duration | None = None) -> T: ...
    @overload
    async def wait(self, *, timeout: Duration | None = None, default: D) -> T | D: ...
    async def wait(self, *, timeout: Duration | None = None, default: Any = _MISSING) -> Any:
        """The next value, in order of arrival; each is taken once.

        Raises:
            TimeoutError: none came within *timeout* and there is no *default*.
            NotInRunError: called outside a run.
        """
        engine = current_engine("a signal")
        buffered = engine.signals.get(self.name)
        if buffered:
            return self.codec.decode(buffered.popleft())
        future = RunFuture[Any](loop=engine.loop)
        engine.signal_waiters.setdefault(self.name, deque()).append(future)
        try:
            async with asyncio.timeout(None if timeout is None else parse(timeout).total_seconds()):
                return self.codec.decode(await future)
        except TimeoutError:
            if isinstance(default, _Missing):
                raise
            return default


def signal(name: str, hint: TypeForm[T]) -> Signal[T]:
    """Declare a signal whose values are of type *hint*."""
    return Signal(name, hint)
