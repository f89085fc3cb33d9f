"""What the events of a commit mean beyond the history."""

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core.runs import RunState, TimerKind
from aiki_server.rpc.effects import effects_of


def test_timers_and_cancellations() -> None:
    """Each goes where it belongs; what is history only goes nowhere."""
    effects = effects_of(
        [
            history_pb2.Event(timer_started=history_pb2.TimerStarted(address="s/1", due_ms=5)),
            history_pb2.Event(timer_cancelled=history_pb2.TimerCancelled(address="s/0")),
            history_pb2.Event(
                task_attempt_failed=history_pb2.TaskAttemptFailed(address="t/1", retry_at_ms=9)
            ),
            history_pb2.Event(task_cancelled=history_pb2.TaskCancelled(address="t/2")),
            history_pb2.Event(task_scheduled=history_pb2.TaskScheduled(address="t/3")),
        ]
    )

    assert effects.timers == [("s/1", 5, TimerKind.TIMER), ("t/1", 9, TimerKind.RETRY)]
    assert effects.cancelled_timers == [("s/0", TimerKind.TIMER)]
    assert effects.cancelled_tasks == ["t/2"]
    assert effects.closing is None


def test_the_two_ends() -> None:
    """A run ends with a result or with a failure."""
    completed = history_pb2.Event(run_completed=history_pb2.RunCompleted(output=common_pb2.Payload()))
    failed = history_pb2.Event(run_failed=history_pb2.RunFailed())

    assert effects_of([completed]).closing is RunState.COMPLETED
    assert effects_of([failed]).closing is RunState.FAILED


def test_a_dispatch_is_named_by_its_handler() -> None:
    """And keeps its spec whole."""
    spec = history_pb2.TaskSpec(address="t/1", task="job", queue="gpu", deadline_ms=7, attempts_made=2)
    [task] = effects_of([], [spec]).dispatches

    assert (task.address, task.handler, task.queue) == ("t/1", "t:job", "gpu")
    assert (task.deadline_ms, task.attempts_made) == (7, 2)
    assert history_pb2.TaskSpec.FromString(task.spec) == spec
