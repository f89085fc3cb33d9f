"""Signals: typed messages to a run, kept until somebody waits for them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, overload

from typing_extensions import TypeForm

from aiki_task.durations import Duration, parse
from aiki_task.payloads import ValueCodec
from aiki_workflow.api import current_engine

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
        limit = None if timeout is None else parse(timeout).total_seconds()
        inbox = current_engine("a signal").inbox
        event = inbox.take(self.name)
        if event is not None:
            return self.codec.decode(event.value)
        future = inbox.wait(self.name)
        try:
            async with asyncio.timeout(limit):
                return self.codec.decode((await future).value)
        except TimeoutError:
            inbox.give_up(self.name, future)
            if isinstance(default, _Missing):
                raise
            return default
        except asyncio.CancelledError:
            inbox.give_up(self.name, future)
            raise


@dataclass(frozen=True, slots=True)
class RemoteRun:
    """Another run, by its workflow id; made by `remote_run`."""

    workflow_id: str

    async def signal(self, signal: Signal[T], value: T) -> None:
        """Send a signal to the newest run of this workflow id; returns when it has arrived.

        Raises:
            SignalFailed: there is no such run, or it is closed.
            PayloadTypeError: the value is not of the signal's type.
        """
        engine = current_engine("a signal to another run")
        await engine.calls.send_signal(self.workflow_id, signal.name, signal.codec.encode(value))


def remote_run(workflow_id: str) -> RemoteRun:
    """Another run, to talk to from within a run."""
    return RemoteRun(workflow_id)


def signal(name: str, hint: TypeForm[T]) -> Signal[T]:
    """Declare a signal whose values are of type *hint*."""
    return Signal(name, hint)
