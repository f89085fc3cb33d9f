"""Signals: typed messages to a run, kept until somebody waits for them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, overload

from typing_extensions import TypeForm

from aiki_task.durations import Duration, parse
from aiki_task.errors import PayloadError
from aiki_task.payloads import ValueCodec
from aiki_workflow.api import current_engine

if TYPE_CHECKING:
    from aiki_workflow import events
    from aiki_workflow.engine import RunEngine

log = logging.getLogger(__name__)
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
        """The next value, in order of arrival; each is taken once. What does not fit the type is dropped and logged.

        Raises:
            TimeoutError: none came within *timeout* and there is no *default*.
            NotInRunError: called outside a run.
        """
        limit = None if timeout is None else parse(timeout).total_seconds()
        engine = current_engine("a signal")
        inbox = engine.inbox
        while (event := inbox.take(self.name)) is not None:
            value = self._value_of(event, engine)
            if value is not _MISSING:
                return value
        future = inbox.wait(self.name)
        try:
            async with asyncio.timeout(limit):
                while (value := self._value_of(await future, engine)) is _MISSING:
                    future = inbox.wait(self.name)
                return value
        except TimeoutError:
            inbox.give_up(self.name, future)
            if isinstance(default, _Missing):
                raise
            return default
        except asyncio.CancelledError:
            inbox.give_up(self.name, future)
            raise

    def _value_of(self, event: events.SignalReceived, engine: RunEngine) -> Any:
        """Its value; `_MISSING` for one that does not fit, which a sender without the definition can send."""
        try:
            return self.codec.decode(event.value)
        except PayloadError as error:
            if not engine.loop.replaying:
                log.error("run %s drops a signal: %s", engine.info.run_id, error)
            return _MISSING


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
