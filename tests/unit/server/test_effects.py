"""What the events of a commit mean beyond the history."""

import json
from collections.abc import Iterable

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core.runs import Effects, RunState, TimerKind
from aiki_server.rpc import effects


def effects_of(
    events: Iterable[history_pb2.Event], dispatches: Iterable[history_pb2.TaskSpec] = ()
) -> Effects:
    """As a coordinator asks, with plain names for the runs of children."""
    return effects.effects_of(events, dispatches, run_id_of_child=lambda child: f"run of {child.address}")


def test_timers_and_cancellations() -> None:
    """Each goes where it belongs; what is history only goes nowhere."""
    found = effects_of(
        [
            history_pb2.Event(timer_started=history_pb2.TimerStarted(address="s/1", due_ms=5)),
            history_pb2.Event(timer_cancelled=history_pb2.TimerCancelled(address="s/0")),
            history_pb2.Event(timer_moved=history_pb2.TimerMoved(address="s/2", due_ms=7)),
            history_pb2.Event(
                task_attempt_failed=history_pb2.TaskAttemptFailed(address="t/1", retry_at_ms=9)
            ),
            history_pb2.Event(task_cancelled=history_pb2.TaskCancelled(address="t/2")),
            history_pb2.Event(task_scheduled=history_pb2.TaskScheduled(address="t/3")),
        ]
    )

    assert found.timers == [
        ("s/1", 5, TimerKind.TIMER),
        ("s/2", 7, TimerKind.TIMER),
        ("t/1", 9, TimerKind.RETRY),
    ]
    assert found.cancelled_timers == [("s/0", TimerKind.TIMER)]
    assert found.cancelled_tasks == ["t/2"]
    assert found.closing is None


def test_how_a_run_ends() -> None:
    """Each way to end is a state."""
    ends = {
        "run_completed": RunState.COMPLETED,
        "run_failed": RunState.FAILED,
        "run_cancelled": RunState.CANCELLED,
        "run_timed_out": RunState.TIMED_OUT,
        "run_continued": RunState.CONTINUED,
    }
    for kind, state in ends.items():
        event = history_pb2.Event()
        getattr(event, kind).SetInParent()
        assert effects_of([event]).closing is state


def test_what_goes_to_other_runs() -> None:
    """A child has a record here, and it and its cancellation go into the outbox, in order."""
    scheduled = history_pb2.Event(
        child_scheduled=history_pb2.ChildScheduled(
            address="c/1", workflow_id="w", close_policy=common_pb2.PARENT_CLOSE_POLICY_LEAVE
        )
    )
    cancelled = history_pb2.Event(child_cancelled=history_pb2.ChildCancelled(address="c/1"))

    found = effects_of([scheduled, cancelled])

    [(address, record)] = found.children
    assert address == "c/1"
    assert json.loads(record) == {
        "state": "open",
        "run": "run of c/1",
        "workflow_id": "w",
        "policy": "leave",
    }
    assert found.outbox == [scheduled.SerializeToString(), cancelled.SerializeToString()]


def test_what_can_be_read_without_a_worker() -> None:
    """Published values and answers to updates are fields of the run's state."""
    value = common_pb2.Payload(data=b"1", encoding="json")
    answer = history_pb2.UpdateCompleted(update_id="u", output=value)
    published = history_pb2.StatePublished(key="progress", value=value)

    found = effects_of(
        [history_pb2.Event(state_published=published), history_pb2.Event(update_completed=answer)]
    )

    assert found.fields == [
        ("s:progress", value.SerializeToString()),
        ("u:u", answer.SerializeToString()),
    ]


def test_a_dispatch_is_named_by_its_handler() -> None:
    """And keeps its spec whole."""
    spec = history_pb2.TaskSpec(address="t/1", task="job", queue="gpu", deadline_ms=7, attempts_made=2)
    [task] = effects_of([], [spec]).dispatches

    assert (task.address, task.handler, task.queue) == ("t/1", "t:job", "gpu")
    assert (task.deadline_ms, task.attempts_made) == (7, 2)
    assert history_pb2.TaskSpec.FromString(task.spec) == spec
