"""Exceptions told to another process, and rebuilt there."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, cast

from aiki_task.errors import AikiError, PayloadError, TaskFailed, TaskTimeoutError
from aiki_task.payloads import Payload

E = TypeVar("E", bound=BaseException)

FailureKind = Literal["error", "timeout", "cancelled", "payload", "bug", "diverged"]

TEXT_CHARACTERS_MAX = 20_000
"""Longer messages and tracebacks are cut in the middle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureInfo:
    """An exception as data: `details` is a JSON object of its attributes, if they could be encoded."""

    kind: FailureKind = "error"
    type: str
    message: str
    traceback: str = ""
    details: Payload | None = None
    cause: FailureInfo | None = None
    attempts: int = 0


def from_exception(
    error: BaseException, *, kind: FailureKind | None = None, attempts: int = 0
) -> FailureInfo:
    """Describe *error* and its causes."""
    cause = error.__cause__
    return FailureInfo(
        kind=kind or _kind_of(error),
        type=type(error).__name__,
        message=_cut(str(error)),
        traceback=_cut("".join(traceback.format_exception(error))),
        details=_details(error),
        cause=None if cause is None else from_exception(cause),
        attempts=attempts,
    )


def to_exception(info: FailureInfo, task: str, raises: Iterable[type[BaseException]] = ()) -> BaseException:
    """What a caller of *task* sees: the declared exception with TaskFailed as its cause, or TaskFailed."""
    failed = task_failed(info, task)
    for kind in raises:
        if kind.__name__ == info.type:
            rebuilt = rebuild(info, kind)
            rebuilt.__cause__ = failed
            return rebuilt
    return failed


def task_failed(info: FailureInfo, task: str) -> TaskFailed:
    """TaskFailed, or TaskTimeoutError, with the causes it had."""
    kind = TaskTimeoutError if info.kind == "timeout" else TaskFailed
    failed = kind(
        task, info.type, info.message, traceback_text=info.traceback, attempts=max(info.attempts, 1)
    )
    if info.cause is not None:
        failed.__cause__ = task_failed(replace(info.cause, attempts=info.attempts), task)
    return failed


def rebuild(info: FailureInfo, kind: type[E]) -> E:
    """An exception of type *kind* with the message and attributes it had; `__init__` is not called."""
    rebuilt = kind.__new__(kind)
    rebuilt.args = (info.message,)
    if info.details is not None:
        attributes = json.loads(info.details.data)
        arguments = attributes.pop("args", None)
        if arguments is not None:
            rebuilt.args = tuple(arguments)
        for name, value in attributes.items():
            setattr(rebuilt, name, value)
    return rebuilt


def _kind_of(error: BaseException) -> FailureKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    if type(error).__name__ == "CancelledError":
        return "cancelled"
    return "payload" if isinstance(error, PayloadError) else "error"


def _details(error: BaseException) -> Payload | None:
    if isinstance(error, AikiError) and type(error).__module__.startswith("aiki"):
        return None
    attributes = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    try:
        encoded = json.dumps({**attributes, "args": cast("object", error.args)}, allow_nan=False)
    except (TypeError, ValueError):
        return None
    return Payload(encoded.encode()) if len(encoded) <= TEXT_CHARACTERS_MAX else None


def _cut(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    half = TEXT_CHARACTERS_MAX // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
