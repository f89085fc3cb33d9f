"""Exceptions told to another process, and rebuilt there."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal, TypeVar, cast

from aiki_task.errors import OutcomeUnknown, PayloadError, ProcessDied, TaskFailed, TaskTimeoutError
from aiki_task.payloads import Payload

E = TypeVar("E", bound=BaseException)

FailureKind = Literal["error", "timeout", "cancelled", "payload", "bug", "diverged", "terminated", "rejected"]

TEXT_CHARACTERS_MAX = 20_000
"""Longer messages and tracebacks are cut in the middle."""

CAUSES_MAX = 8
"""Causes of causes are told up to this depth."""

_OUR_PACKAGES = frozenset({"aiki_client", "aiki_sdk", "aiki_task", "aiki_worker", "aiki_workflow"})


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
    """Describe *error* and its causes, up to CAUSES_MAX of them."""
    return _described(error, kind or _kind_of(error), attempts, CAUSES_MAX)


def to_exception(info: FailureInfo, task: str, raises: Iterable[type[BaseException]] = ()) -> BaseException:
    """What a caller of *task* sees: the declared exception with TaskFailed as its cause, or TaskFailed."""
    failed = task_failed(info, task)
    kind = named(info.type, raises)
    if kind is None:
        return failed
    rebuilt = rebuild(info, kind)
    rebuilt.__cause__ = failed
    return rebuilt


def task_failed(info: FailureInfo, task: str) -> TaskFailed:
    """TaskFailed, or TaskTimeoutError, with the causes it had."""
    kind: type[TaskFailed] = TaskTimeoutError if info.kind == "timeout" else TaskFailed
    if info.type == "OutcomeUnknown" and not info.traceback:
        # Said by a coordinator: what code raises has a traceback.
        kind = OutcomeUnknown
    failed = kind(
        task, info.type, info.message, traceback_text=info.traceback, attempts=max(info.attempts, 1)
    )
    if info.cause is not None:
        failed.__cause__ = task_failed(replace(info.cause, attempts=info.attempts), task)
    return failed


def named(type_name: str, declared: Iterable[type[BaseException]]) -> type[BaseException] | None:
    """Which of the declared types, or of the subclasses they have in this process, is called *type_name*."""
    waiting = list(declared)
    seen: set[type[BaseException]] = set()
    while waiting:
        kind = waiting.pop(0)
        if kind.__name__ == type_name:
            return kind
        if kind not in seen:
            seen.add(kind)
            waiting += kind.__subclasses__()
    return None


def rebuild(info: FailureInfo, kind: type[E]) -> E:
    """An exception of type *kind* with the message and attributes it had; `__init__` is not called."""
    builtin = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    make = cast("Callable[[type[E]], E]", builtin.__new__)
    rebuilt = make(kind)
    rebuilt.args = (info.message,)
    attributes = {} if info.details is None else _object_in(info.details)
    args = attributes.pop("args", None)
    if isinstance(args, list):
        rebuilt.args = tuple(cast("list[object]", args))
    for name, value in attributes.items():
        with suppress(AttributeError, TypeError):  # a property, or an attribute of another type by now
            object.__setattr__(rebuilt, name, value)
    return rebuilt


def _described(error: BaseException, kind: FailureKind, attempts: int, causes_left: int) -> FailureInfo:
    cause = error.__cause__ if causes_left else None
    return FailureInfo(
        kind=kind,
        type=type(error).__name__,
        message=_cut(_text(error)),
        traceback=_cut(_traceback(error)),
        details=_details(error),
        cause=None if cause is None else _described(cause, _kind_of(cause), 0, causes_left - 1),
        attempts=attempts,
    )


def _traceback(error: BaseException) -> str:
    """From the author's first line on: how the engine got there helps nobody."""
    first = error.__traceback__
    while first is not None and _is_ours(first):
        first = first.tb_next
    return "".join(traceback.format_exception(type(error), error, first or error.__traceback__))


def _is_ours(entry: TracebackType) -> bool:
    module: str = entry.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] in _OUR_PACKAGES


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  an author's __str__ may do anything, and the failure must be told
        return f"<{type(error).__name__} whose __str__ fails>"


def _kind_of(error: BaseException) -> FailureKind:
    if isinstance(error, TimeoutError):
        return "timeout"
    if type(error).__name__ == "CancelledError":
        return "cancelled"
    return "payload" if isinstance(error, PayloadError) else "error"


def _details(error: BaseException) -> Payload | None:
    """The public attributes that are JSON, each judged alone, and `args` if all of them are."""
    if type(error).__module__.partition(".")[0] in _OUR_PACKAGES and not isinstance(error, ProcessDied):
        return None
    attributes = {name: value for name, value in vars(error).items() if not name.startswith("_")}
    items = {**attributes, **_os_error(error), "args": cast("object", error.args)}
    parts = [f"{json.dumps(name)}: {text}" for name, value in items.items() if (text := _json(value))]
    encoded = "{" + ", ".join(parts) + "}"
    return Payload(encoded.encode()) if parts and len(encoded) <= TEXT_CHARACTERS_MAX else None


def _os_error(error: BaseException) -> dict[str, object]:
    """What `OSError` keeps outside its attributes."""
    if not isinstance(error, OSError):
        return {}
    return {"errno": error.errno, "strerror": error.strerror, "filename": cast("object", error.filename)}


def _json(value: object) -> str | None:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _object_in(details: Payload) -> dict[str, object]:
    """The JSON object that *details* is; empty if another language's worker sent something else."""
    try:
        parsed: object = json.loads(details.data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, object]", parsed) if isinstance(parsed, dict) else {}


def _cut(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    half = TEXT_CHARACTERS_MAX // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"
