"""What a task may know of the attempt that runs it, and what it may tell of it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import field
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, cast

from aiki_task.errors import AttemptCancelled, DeferredOutcome, DefinitionError, NotInRunError
from aiki_task.payloads import ValueCodec
from aiki_task.pulse import Pulse
from aiki_task.records import keyword_record

if TYPE_CHECKING:
    from typing_extensions import TypeForm

T = TypeVar("T")

_WHERE: Final = "a checkpoint"


@keyword_record
class TaskContext:
    """One attempt of one task call."""

    run_id: str
    workflow_id: str
    address: str
    attempt: int
    """From 1; an attempt lost with its worker is not counted."""
    deadline_ms: int | None
    """When the attempt is given up, in milliseconds since the Unix epoch; None means never."""
    completion_token: str = ""
    """What `token` is; empty for a task that cannot be completed later."""
    pulse: Pulse = field(default_factory=Pulse, compare=False, repr=False)
    """For workers."""

    @property
    def deadline(self) -> datetime | None:
        """When the attempt is given up; None means never."""
        return None if self.deadline_ms is None else datetime.fromtimestamp(self.deadline_ms / 1000, UTC)

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this call, and for no other call: give it to payment services and the like."""
        return f"{self.run_id}/{self.address}"

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody wants the outcome any more, or the attempt's time is up."""
        return self.pulse.cancelled

    @property
    def token(self) -> str:
        """What `Client.complete_task` completes this attempt by: text without spaces, safe in a URL.

        Raises:
            DefinitionError: the task is not defined with `deferred=True`.
        """
        if not self.completion_token:
            raise DefinitionError(
                f"the task of {self.address!r} cannot be completed later: define it with @task(deferred=True)"
            )
        return self.completion_token

    def checkpoint(self, type_hint: TypeForm[T]) -> T | None:
        """What an earlier attempt left by `heartbeat`; None when there is nothing.

        Raises:
            PayloadTypeError: it does not fit *type_hint*.
        """
        found = self.pulse.found
        return None if found is None else cast("T", _codec(type_hint).decode(found))


_current: ContextVar[TaskContext] = ContextVar("aiki_task_context")


def current_task() -> TaskContext:
    """The attempt this code is part of.

    Raises:
        NotInRunError: it is not part of one.
    """
    try:
        return _current.get()
    except LookupError:
        message = "there is no task attempt here: call current_task() inside a task that a worker runs"
        raise NotInRunError(message) from None


def heartbeat(checkpoint: object = None) -> None:
    """Say that the attempt is alive, and what the next one may go on from, should this one fail or be lost.

    From async and sync code, on any thread; does nothing when no worker runs the task. The newest checkpoint is
    kept, and sent about once a second at most: call it as often as you like. Without one the last one stays.

    Raises:
        asyncio.CancelledError: in an async task that is not wanted any more.
        AttemptCancelled: likewise in a sync one.
        PayloadTypeError: the checkpoint has no encoding.
        PayloadTooLargeError: it is over the limit.
    """
    context = _current.get(None)
    if context is None:
        return
    if context.pulse.cancelled:
        if context.pulse.is_async:
            import asyncio  # with this at the top, importing the package would take twice as long

            raise asyncio.CancelledError
        raise AttemptCancelled(f"the attempt of {context.address!r} is not wanted any more")
    encoded = (
        None
        if checkpoint is None
        else _codec(bytes if isinstance(checkpoint, bytes) else Any).encode(checkpoint)
    )
    context.pulse.beat(encoded)


def complete_later() -> NoReturn:
    """End this attempt without an outcome: somebody gives it later, by the attempt's `token`.

    The task must be defined with `deferred=True`. The attempt's timeout goes on.

    Raises:
        NotInRunError: no worker runs the task.
        DefinitionError: the task is not defined with `deferred=True`.
    """
    _ = current_task().token
    raise DeferredOutcome


def enter(context: TaskContext) -> None:
    """Make *context* that of the code that runs in this contextvars context; for workers."""
    _current.set(context)


def entered() -> TaskContext | None:
    """The attempt this code is part of, if it is part of one; for workers."""
    return _current.get(None)


def _codec(hint: Any) -> ValueCodec:
    try:
        return _cached_codec(hint)
    except TypeError:  # a hint that has no hash
        return ValueCodec(hint, _WHERE)


@cache
def _cached_codec(hint: Any) -> ValueCodec:
    return ValueCodec(hint, _WHERE)
