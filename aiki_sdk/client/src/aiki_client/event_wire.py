"""Events of a history to protobuf and back.

The kinds that every step makes are written out; the others are converted field by field, since a message of
history.proto and its class in `aiki_workflow.events` have the same names.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, cast

from aiki.v1 import common_pb2, history_pb2
from aiki_task.failures import FailureInfo, FailureKind
from aiki_task.payloads import Payload
from aiki_task.placing import ANYWHERE, Placement
from aiki_workflow import events

_KIND_TO_WIRE: Final[dict[FailureKind, common_pb2.FailureKind.ValueType]] = {
    "error": common_pb2.FAILURE_KIND_ERROR,
    "timeout": common_pb2.FAILURE_KIND_TIMEOUT,
    "cancelled": common_pb2.FAILURE_KIND_CANCELLED,
    "payload": common_pb2.FAILURE_KIND_PAYLOAD,
    "bug": common_pb2.FAILURE_KIND_BUG,
    "diverged": common_pb2.FAILURE_KIND_DIVERGED,
    "terminated": common_pb2.FAILURE_KIND_TERMINATED,
    "rejected": common_pb2.FAILURE_KIND_REJECTED,
}
_KIND_FROM_WIRE: Final[dict[common_pb2.FailureKind.ValueType, FailureKind]] = {
    number: kind for kind, number in _KIND_TO_WIRE.items()
}
_POLICY_TO_WIRE: Final[dict[events.ClosePolicy, common_pb2.ParentClosePolicy.ValueType]] = {
    "cancel": common_pb2.PARENT_CLOSE_POLICY_CANCEL,
    "leave": common_pb2.PARENT_CLOSE_POLICY_LEAVE,
    "terminate": common_pb2.PARENT_CLOSE_POLICY_TERMINATE,
}
_POLICY_FROM_WIRE: Final[dict[common_pb2.ParentClosePolicy.ValueType, events.ClosePolicy]] = {
    number: policy for policy, number in _POLICY_TO_WIRE.items()
}


def payload_to_wire(payload: Payload) -> common_pb2.Payload:
    return common_pb2.Payload(data=payload.data, encoding=payload.encoding)


def payload_from_wire(wire: common_pb2.Payload) -> Payload:
    return Payload(wire.data, cast("Any", wire.encoding))


def failure_to_wire(failure: FailureInfo) -> common_pb2.Failure:
    wire = common_pb2.Failure()
    write_failure(wire, failure)
    return wire


def write_placement(wire: common_pb2.Placement, placement: Placement) -> None:
    """Likewise; what is not given is not written."""
    wire.priority = placement.priority or 0
    wire.slots = 0 if placement.slots == 1 else placement.slots
    wire.labels.extend(placement.labels)
    wire.prefers.extend(placement.prefers)


def placement_to_wire(placement: Placement) -> common_pb2.Placement | None:
    """None for one that says nothing."""
    if placement == ANYWHERE:
        return None
    wire = common_pb2.Placement()
    write_placement(wire, placement)
    return wire


def failure_from_wire(failure: common_pb2.Failure) -> FailureInfo:
    return FailureInfo(
        kind=_KIND_FROM_WIRE.get(failure.kind, "error"),
        type=failure.type,
        message=failure.message,
        traceback=failure.traceback,
        details=payload_from_wire(failure.details) if failure.HasField("details") else None,
        cause=failure_from_wire(failure.cause) if failure.HasField("cause") else None,
        attempts=failure.attempts,
    )


def write_payload(wire: common_pb2.Payload, payload: Payload) -> None:
    """Fill *wire* in place: a message given to another is copied whole."""
    wire.data, wire.encoding = payload.data, payload.encoding


def write_failure(wire: common_pb2.Failure, failure: FailureInfo) -> None:
    """Likewise."""
    wire.kind = _KIND_TO_WIRE[failure.kind]
    wire.type, wire.message, wire.traceback = failure.type, failure.message, failure.traceback
    wire.attempts = failure.attempts
    if failure.details is not None:
        write_payload(wire.details, failure.details)
    if failure.cause is not None:
        write_failure(wire.cause, failure.cause)


def event_to_wire(event: events.Event) -> history_pb2.Event:
    """One event, on its own."""
    wire = history_pb2.Event()
    write_event(wire, event)
    return wire


def write_event(wire: history_pb2.Event, event: events.Event) -> None:
    """Fill *wire* in place."""
    wire.time_ms = event.at
    match event:
        case events.TaskScheduled():
            scheduled = wire.task_scheduled
            scheduled.address, scheduled.task = event.address, event.task
            write_payload(scheduled.input, event.input)
        case events.TaskCompleted():
            completed = wire.task_completed
            completed.address, completed.worker = event.address, event.worker
            completed.attempt, completed.duration_ms = event.attempt, event.duration_ms
            write_payload(completed.output, event.output)
        case events.TimerStarted():
            wire.timer_started.address, wire.timer_started.due_ms = event.address, event.due_ms
        case _:
            name, fields = _FIELDS[type(event)]
            message = getattr(wire, name)
            message.SetInParent()
            for field in fields:
                field.write(message, field.name, getattr(event, field.name))


def event_from_wire(wire: history_pb2.Event) -> events.Event:
    """One entry of a history.

    Raises:
        ValueError: it is of a kind that this revision does not have.
    """
    kind = wire.WhichOneof("kind")
    if kind == "task_completed":
        done = wire.task_completed
        return events.TaskCompleted(
            wire.time_ms,
            done.address,
            payload_from_wire(done.output),
            done.attempt,
            done.duration_ms,
            done.worker,
        )
    if kind == "task_scheduled":
        asked = wire.task_scheduled
        return events.TaskScheduled(wire.time_ms, asked.address, asked.task, payload_from_wire(asked.input))
    if kind is None or kind not in _CLASSES:
        raise ValueError("an event of the history has no kind that this worker knows: update the worker")
    return cast("events.Event", _read(_CLASSES[kind], wire.time_ms, getattr(wire, kind)))


def events_from_wire(wires: Iterable[history_pb2.Event]) -> list[events.Event]:
    return [event_from_wire(wire) for wire in wires]


def _read(kind: type[Any], at: int, message: Any) -> Any:
    _, fields = _FIELDS[kind]
    return kind(at, *(field.read(message, field.name) for field in fields))


@dataclasses.dataclass(frozen=True, slots=True)
class _Field:
    """How one field is written and read."""

    name: str
    write: Callable[[Any, str, Any], None]
    read: Callable[[Any, str], Any]


def _write_scalar(message: Any, name: str, value: Any) -> None:
    setattr(message, name, value)


def _write_payload_field(message: Any, name: str, value: Payload | None) -> None:
    if value is not None:
        getattr(message, name).SetInParent()
        write_payload(getattr(message, name), value)


def _write_failure_field(message: Any, name: str, value: FailureInfo | None) -> None:
    if value is not None:
        getattr(message, name).SetInParent()
        write_failure(getattr(message, name), value)


def _write_policy(message: Any, name: str, value: events.ClosePolicy) -> None:
    setattr(message, name, _POLICY_TO_WIRE[value])


def _write_signals(message: Any, name: str, value: tuple[events.SignalReceived, ...]) -> None:
    for signal in value:
        wire = getattr(message, name).add()
        wire.name = signal.name
        write_payload(wire.value, signal.value)


def _write_updates(message: Any, name: str, value: tuple[events.UpdateReceived, ...]) -> None:
    for update in value:
        wire = getattr(message, name).add()
        wire.update_id, wire.name, wire.traceparent = update.update_id, update.name, update.traceparent
        write_payload(wire.input, update.input)


def _write_placement_field(message: Any, name: str, value: Placement) -> None:
    if value != ANYWHERE:
        write_placement(getattr(message, name), value)


def _read_placement(message: Any, name: str) -> Placement:
    if not message.HasField(name):
        return ANYWHERE
    wire: common_pb2.Placement = getattr(message, name)
    return Placement(
        priority=wire.priority or None,
        slots=wire.slots or 1,
        labels=tuple(wire.labels),
        prefers=tuple(wire.prefers),
    )


def _read_payload(message: Any, name: str) -> Payload:
    return payload_from_wire(getattr(message, name))


def _read_failure(message: Any, name: str) -> FailureInfo:
    return failure_from_wire(getattr(message, name))


def _read_policy(message: Any, name: str) -> events.ClosePolicy:
    return _POLICY_FROM_WIRE.get(getattr(message, name), "cancel")


def _read_signals(message: Any, name: str) -> tuple[events.SignalReceived, ...]:
    """Their times are those of the event that carries them on."""
    return tuple(
        events.SignalReceived(0, wire.name, payload_from_wire(wire.value)) for wire in getattr(message, name)
    )


def _read_updates(message: Any, name: str) -> tuple[events.UpdateReceived, ...]:
    """As for signals."""
    return tuple(
        events.UpdateReceived(0, wire.update_id, wire.name, payload_from_wire(wire.input), wire.traceparent)
        for wire in getattr(message, name)
    )


def _if_there(read: Callable[[Any, str], Any], message: Any, name: str) -> Any:
    return read(message, name) if message.HasField(name) else None


_SCALAR: Final = (_write_scalar, getattr)
_CONVERSIONS: Final[dict[str, tuple[Callable[[Any, str, Any], None], Callable[[Any, str], Any]]]] = {
    "int": _SCALAR,
    "str": _SCALAR,
    "bool": _SCALAR,
    "Payload": (_write_payload_field, _read_payload),
    "Payload | None": (_write_payload_field, partial(_if_there, _read_payload)),
    "FailureInfo": (_write_failure_field, _read_failure),
    "FailureInfo | None": (_write_failure_field, partial(_if_there, _read_failure)),
    "Placement": (_write_placement_field, _read_placement),
    "ClosePolicy": (_write_policy, _read_policy),
    "tuple[SignalReceived, ...]": (_write_signals, _read_signals),
    "tuple[UpdateReceived, ...]": (_write_updates, _read_updates),
}


def _fields_of(kind: type[Any]) -> tuple[str, list[_Field]]:
    """The name of its message in the oneof, and its fields but `at`; annotations are text there."""
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    fields = [
        _Field(field.name, *_CONVERSIONS[str(field.type)])
        for field in dataclasses.fields(kind)
        if field.name != "at"
    ]
    return name, fields


_FIELDS: Final[dict[type[Any], tuple[str, list[_Field]]]] = {
    kind: _fields_of(kind) for kind in (*events.INPUTS, *events.COMMANDS, *events.NOTES)
}
_CLASSES: Final = {name: kind for kind, (name, _) in _FIELDS.items()}
