"""Every kind of event and every state has its value."""

import pytest

from aiki.v1 import common_pb2, history_pb2, workflow_pb2
from aiki_client import convert, event_wire
from aiki_client.cli.output import event_line, plain_event
from aiki_client.errors import RevisionError
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_workflow import events

KINDS = [field.name for field in history_pb2.Event.DESCRIPTOR.oneofs_by_name["kind"].fields]
FAILURE = common_pb2.Failure(
    kind=common_pb2.FAILURE_KIND_TIMEOUT,
    type="Late",
    message="too [late]",
    details=common_pb2.Payload(data=b'{"args":[1]}', encoding="json"),
    cause=common_pb2.Failure(type="OSError"),
    attempts=3,
)


def _event(kind: str) -> history_pb2.Event:
    """An event of *kind* with something in every field."""
    event = history_pb2.Event(time_ms=1_700_000_000_123)
    message = getattr(event, kind)
    message.SetInParent()
    for field in message.DESCRIPTOR.fields:
        if field.is_repeated:
            one = getattr(message, field.name).add(name="s")
            payload = one.value if isinstance(one, history_pb2.SignalReceived) else one.input
            payload.data, payload.encoding = b"1", "json"
        elif field.enum_type is not None:
            setattr(message, field.name, common_pb2.PARENT_CLOSE_POLICY_LEAVE)
        elif field.message_type is None:
            setattr(message, field.name, f"{field.name}-1" if field.cpp_type == field.CPPTYPE_STRING else 7)
        elif field.message_type.name == "Payload":
            getattr(message, field.name).CopyFrom(common_pb2.Payload(data=b"[1]", encoding="json"))
        elif field.message_type.name == "Placement":
            getattr(message, field.name).CopyFrom(common_pb2.Placement(priority=2, labels=["gpu=a100"]))
        else:
            getattr(message, field.name).CopyFrom(FAILURE)
    return event


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_is_converted_whole(kind: str) -> None:
    """The dataclass has the message's name and all of its fields, and can be printed."""
    event = convert.event(_event(kind))

    assert type(event).__name__ == "".join(part.title() for part in kind.split("_"))
    told = plain_event(4, event)
    message = getattr(_event(kind), kind)
    assert told.keys() == {"index", "time", "kind", *(field.name for field in message.DESCRIPTOR.fields)}
    for field in message.DESCRIPTOR.fields:
        expected = {"Payload": [1]}.get(field.message_type.name) if field.message_type else None
        if field.enum_type is not None:
            assert told[field.name] == "leave"
        elif field.message_type is None:
            assert told[field.name] == getattr(message, field.name)
        elif expected:
            assert told[field.name] == expected
    assert event_line(4, event).startswith("    4  ")


def test_unknown_events_ask_for_a_newer_client() -> None:
    """They are refused, not guessed."""
    with pytest.raises(RevisionError, match="upgrade"):
        convert.event(history_pb2.Event(time_ms=1))


def test_failures_keep_their_causes() -> None:
    """Kind, details and attempts as well."""
    assert event_wire.failure_from_wire(FAILURE) == FailureInfo(
        kind="timeout",
        type="Late",
        message="too [late]",
        details=Payload(b'{"args":[1]}'),
        cause=FailureInfo(type="OSError", message=""),
        attempts=3,
    )


@pytest.mark.parametrize(
    "number", [item.number for item in common_pb2.RunState.DESCRIPTOR.values if item.number]
)
def test_every_state_has_its_value(number: common_pb2.RunState.ValueType) -> None:
    """And back."""
    view = convert.run_view(workflow_pb2.Run(state=number))

    assert convert.WIRE_STATES[view.state] == number
    closed = {"completed", "failed", "cancelled", "terminated", "timed_out", "continued"}
    assert view.state.is_closed == (view.state.value in closed)


def test_kinds_of_events_match_the_union() -> None:
    """No event is forgotten on either side."""
    assert {"".join(part.title() for part in kind.split("_")) for kind in KINDS} == {
        kind.__name__ for kind in events.Event.__args__
    }
