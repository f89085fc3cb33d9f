"""The wire on one side, values on the other.

Invariant: nothing of `aiki.v1` goes further into the package than this module and what calls the stubs.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from google.protobuf import duration_pb2, timestamp_pb2

from aiki.v1 import common_pb2, history_pb2, workflow_pb2
from aiki_client.errors import RevisionError
from aiki_client.event_wire import event_from_wire, failure_from_wire, payload_from_wire
from aiki_client.views import ChildView, LogLine, RunState, RunView, SignalView, TaskView, TimerView
from aiki_workflow import events

STATES: Final[dict[common_pb2.RunState.ValueType, RunState]] = {
    common_pb2.RUN_STATE_RUNNING: RunState.RUNNING,
    common_pb2.RUN_STATE_WAITING: RunState.WAITING,
    common_pb2.RUN_STATE_STALLED: RunState.STALLED,
    common_pb2.RUN_STATE_COMPLETED: RunState.COMPLETED,
    common_pb2.RUN_STATE_FAILED: RunState.FAILED,
    common_pb2.RUN_STATE_CANCELLED: RunState.CANCELLED,
    common_pb2.RUN_STATE_TERMINATED: RunState.TERMINATED,
    common_pb2.RUN_STATE_TIMED_OUT: RunState.TIMED_OUT,
    common_pb2.RUN_STATE_CONTINUED: RunState.CONTINUED,
    common_pb2.RUN_STATE_PAUSED: RunState.PAUSED,
    common_pb2.RUN_STATE_SCHEDULED: RunState.SCHEDULED,
}
WIRE_STATES: Final = {state: number for number, state in STATES.items()}


def log_line(wire: common_pb2.LogLine) -> LogLine:
    return LogLine(
        time=datetime.fromtimestamp(wire.time_us / 1_000_000, UTC),
        level=wire.level,
        logger=wire.logger,
        message=wire.message,
        address=wire.address,
        attempt=wire.attempt,
        worker=wire.worker,
    )


def dropped_lines(page: workflow_pb2.GetLogsResponse) -> LogLine:
    """A line in place of those that are gone, just before the oldest that is there."""
    first_us = page.lines[0].time_us if page.lines else 0
    return LogLine(
        time=datetime.fromtimestamp(first_us / 1_000_000, UTC),
        level="warning",
        logger="aiki",
        message=f"{page.dropped:,} older lines are not kept any more",
        address="",
        attempt=0,
        worker="",
    )


def run_view(wire: workflow_pb2.Run) -> RunView:
    """A run as it stands."""
    return RunView(
        namespace=wire.namespace,
        run_id=wire.run_id,
        workflow_id=wire.workflow_id,
        workflow=wire.workflow,
        version=wire.version,
        queue=wire.queue,
        state=_state(wire.state),
        start_time=_instant(wire.start_time),
        close_time=_instant(wire.close_time) if wire.HasField("close_time") else None,
        history_length=wire.history_length,
        output=payload_from_wire(wire.output) if wire.HasField("output") else None,
        failure=failure_from_wire(wire.failure) if wire.HasField("failure") else None,
        worker=wire.worker,
        waiting_for=wire.waiting_for,
        tasks=tuple(task_view(task) for task in wire.tasks),
        timers=tuple(
            TimerView(address=timer.address, since=_instant(timer.since), due=_instant(timer.due))
            for timer in wire.timers
        ),
        children=tuple(child_view(child) for child in wire.children),
        signals=tuple(SignalView(name=signal.name, time=_instant(signal.time)) for signal in wire.signals),
        published={key: payload_from_wire(value) for key, value in sorted(wire.published.items())},
        since=_instant(wire.since) if wire.HasField("since") else None,
        mail=wire.mail,
        continued_from=wire.continued_from,
        continued_as=wire.continued_as,
        parent_run_id=wire.parent_run_id,
        runtime=wire.runtime,
    )


def task_view(wire: workflow_pb2.TaskView) -> TaskView:
    """A task of a run."""
    return TaskView(
        address=wire.address,
        task=wire.task,
        state=wire.state,
        attempt=wire.attempt,
        worker=wire.worker,
        since=_instant(wire.since) if wire.HasField("since") else None,
        last_failure=failure_from_wire(wire.last_failure) if wire.HasField("last_failure") else None,
        duration=timedelta(milliseconds=wire.duration_ms) if wire.duration_ms else None,
    )


def child_view(wire: workflow_pb2.ChildView) -> ChildView:
    """A child of a run."""
    return ChildView(
        address=wire.address,
        workflow=wire.workflow,
        workflow_id=wire.workflow_id,
        state=wire.state,
        since=_instant(wire.since),
        failure=failure_from_wire(wire.failure) if wire.HasField("failure") else None,
    )


def event(wire: history_pb2.Event) -> events.Event:
    """One entry of a history.

    Raises:
        RevisionError: it is of a kind that this client does not know.
    """
    try:
        return event_from_wire(wire)
    except ValueError as error:
        raise RevisionError(
            "the history holds an event that this client does not know: upgrade aiki-client"
        ) from error


def duration(value: timedelta | None) -> duration_pb2.Duration | None:
    """A duration for a request."""
    if value is None:
        return None
    wire = duration_pb2.Duration()
    wire.FromTimedelta(value)
    return wire


def _state(wire: common_pb2.RunState.ValueType) -> RunState:
    if wire not in STATES:
        raise RevisionError(
            f"the run is in state {wire}, which this client does not know: upgrade aiki-client"
        )
    return STATES[wire]


def _instant(wire: timestamp_pb2.Timestamp) -> datetime:
    return wire.ToDatetime(tzinfo=UTC)
