"""Between protobuf and plain values."""

from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given, strategies as st

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_client import event_wire
from aiki_task import Retry
from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_task.placing import Placement
from aiki_task.task import TaskOptions
from aiki_worker import messages, wire
from aiki_worker.run_ledger import Commit, Dispatch, TaskSpec
from aiki_workflow import events

texts = st.text(max_size=20)
times = st.integers(0, 2**50)
payloads = st.builds(Payload, st.binary(max_size=20), st.sampled_from(["json", "raw"]))
failures = st.recursive(
    st.builds(
        FailureInfo,
        kind=st.sampled_from(["error", "timeout", "cancelled", "payload", "bug", "diverged", "rejected"]),
        type=texts,
        message=texts,
        traceback=texts,
        details=st.none() | payloads,
        attempts=st.integers(0, 9),
    ),
    lambda inner: st.builds(FailureInfo, type=texts, message=texts, cause=inner),
    max_leaves=3,
)
BY_TYPE: dict[str, st.SearchStrategy[object]] = {
    "int": times,
    "str": texts,
    "Payload": payloads,
    "FailureInfo": failures,
    "bool": st.booleans(),
    "Payload | None": st.none() | payloads,
    "FailureInfo | None": st.none() | failures,
    "Placement": st.builds(
        Placement,
        priority=st.none() | st.integers(1, 5),
        slots=st.integers(1, 9),
        labels=st.lists(texts, max_size=2).map(tuple),
        prefers=st.lists(texts, max_size=2).map(tuple),
    ),
    "ClosePolicy": st.sampled_from(get_args(events.ClosePolicy)),
    "tuple[SignalReceived, ...]": st.lists(
        st.builds(events.SignalReceived, at=st.just(0), name=texts, value=payloads), max_size=3
    ).map(tuple),
    "tuple[UpdateReceived, ...]": st.lists(
        st.builds(
            events.UpdateReceived,
            at=st.just(0),
            update_id=texts,
            name=texts,
            input=payloads,
            traceparent=texts,
        ),
        max_size=3,
    ).map(tuple),
}


def of_type(kind: type[events.Event]) -> st.SearchStrategy[events.Event]:
    """Any event of one kind."""
    fields = {name: BY_TYPE[hint] for name, hint in kind.__annotations__.items()}
    small = {
        name: st.integers(0, 2**31) for name in ("attempt", "duration_ms", "chain_index") if name in fields
    }
    return st.builds(kind, **(fields | small))


any_event = st.one_of([of_type(kind) for kind in (*events.INPUTS, *events.COMMANDS, *events.NOTES)])


@given(any_event)
def test_every_event_comes_back_equal(event: events.Event) -> None:
    """What is written and read back is equal, event by event."""
    sent = event_wire.event_to_wire(event).SerializeToString()

    assert event_wire.event_from_wire(history_pb2.Event.FromString(sent)) == event


def test_unknown_event_is_refused() -> None:
    """A history with an event of a later revision is not guessed at."""
    with pytest.raises(ValueError, match="update the worker"):
        event_wire.event_from_wire(history_pb2.Event(time_ms=1))


def test_commit_holds_events_and_specs() -> None:
    """The note goes into the history, the spec beside it; flags are as decided."""
    spec = TaskSpec(
        address="far/1/1",
        task="far",
        input=Payload(b"{}"),
        queue="gpu",
        options=TaskOptions(retry=Retry(None, non_retryable=(ValueError,)), timeout=timedelta(seconds=1.5)),
        deadline_ms=7,
        attempts_made=2,
        workflow_id="w",
    )
    commit = Commit(3, [Dispatch(events.TaskDispatched(1, "far/1/1", "gpu"), spec)], drain=True, idle=True)

    sent = wire.commit_to_wire(common_pb2.Lease(run_id="0-r", epoch=2, nonce="n"), commit).commit

    assert (sent.number, sent.drain, sent.idle, sent.lease.epoch) == (3, True, True, 2)
    assert sent.events[0].task_dispatched.queue == "gpu"
    (dispatch,) = sent.dispatches
    assert dispatch.retry.attempts_max == 0
    assert list(dispatch.retry.non_retryable) == ["ValueError"]
    assert dispatch.attempt_timeout.ToMilliseconds() == 1500
    assert (dispatch.deadline_ms, dispatch.attempts_made) == (7, 2)
    assert not sent.HasField("stall")


def test_assignment_without_a_timeout_has_none() -> None:
    """Absent is not zero."""
    message = worker_pb2.CoordinatorMessage(
        task_assignment=worker_pb2.TaskAssignment(spec=history_pb2.TaskSpec(task="far"), attempt=2)
    )

    parsed = wire.inbound_from_wire(message)

    assert isinstance(parsed, messages.TaskAssignment)
    assert parsed.timeout_s is None
    assert parsed.attempt == 2


@given(st.lists(st.integers(0, 3000), max_size=20))
def test_frames_keep_order_and_limit(sizes: list[int]) -> None:
    """All messages, in order; a frame is over the limit only when one message alone is."""
    limit = 4000
    pending = [
        worker_pb2.WorkerMessage(
            task_report=worker_pb2.TaskReport(output=common_pb2.Payload(data=b"x" * size), duration_ms=number)
        )
        for number, size in enumerate(sizes)
    ]

    sent = list(wire.frames(pending, limit))

    assert [message for frame in sent for message in frame.messages] == pending
    assert all(frame.ByteSize() <= limit or len(frame.messages) == 1 for frame in sent)
