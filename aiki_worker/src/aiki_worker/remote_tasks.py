"""Tasks taken from a queue: each under a lease of its own, its outcome reported.

Invariant: a report carries the lease its attempt ran under; nothing is reported for a lease that is gone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from opentelemetry.trace import SpanKind

from aiki.v1 import worker_pb2
from aiki_task.context import TaskContext
from aiki_task.errors import RetryAfter
from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse
from aiki_task.task import Task
from aiki_worker import wire
from aiki_worker.attempt_spans import AttemptSpans, place_of
from aiki_worker.clock import StoreClock
from aiki_worker.executors import Attempt, Deferred, Executors, Outcome, Returned, is_final
from aiki_worker.messages import (
    Lease,
    Refusing,
    TaskAssignment,
    TaskReport,
    TaskReportResult,
    TaskStartResult,
)
from aiki_worker.meters import measure_attempt
from aiki_worker.metrics import FENCED, TASK_SCHEDULE_TO_START
from aiki_worker.placement import attempt_seconds
from aiki_worker.run_logs import Lines, Said
from aiki_worker.slots import Need

PROGRESS_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Assigned:
    assignment: TaskAssignment
    need: Need
    attempt: Attempt | None = None
    checkpoint: Payload | None = None
    lines: Lines = field(default_factory=Lines)


class RemoteTasks:
    """What was assigned to this worker; `say` takes messages for the coordinator."""

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        executors: Executors,
        clock: StoreClock,
        say: Callable[[worker_pb2.WorkerMessage], None],
        spans: AttemptSpans,
        hear_logs: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._executors = executors
        self._clock = clock
        self._say = say
        self._spans = spans
        self._hear_logs = hear_logs
        self._leaving = False
        self._assigned: dict[tuple[str, str], _Assigned] = {}
        self._waiting: dict[tuple[str, str], _Assigned] = {}
        self._beginning: dict[tuple[str, str], _Assigned] = {}  # told, and not answered yet

    @property
    def waiting(self) -> int:
        """Assigned, and not in a slot yet."""
        return len(self._waiting) + len(self._beginning)

    @property
    def waiting_slots(self) -> Counter[str]:
        """What waits for slots would take, by queue."""
        waiting: Counter[str] = Counter()
        for assigned in (*self._waiting.values(), *self._beginning.values()):
            waiting[assigned.need.queue] += assigned.need.slots
        return waiting

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do or to report."""
        return not self._assigned

    def assign(self, assignment: TaskAssignment) -> None:
        """Take a task; it starts when there is a slot."""
        self._drop(assignment.lease)
        if self._leaving:
            self._say(wire.release_to_wire(assignment.lease))
            return
        if assignment.task not in self._tasks:
            log.warning("task %r was assigned and is not served here: handing it back", assignment.task)
            self._say(wire.release_to_wire(assignment.lease))
            return
        assigned = _Assigned(
            assignment, Need(assignment.queue, assignment.slots), checkpoint=assignment.checkpoint
        )
        self._assigned[assignment.lease.thing] = assigned
        self._waiting[assignment.lease.thing] = assigned

    def start_waiting(self) -> None:
        """Start what waits, in its order; what lacks something else than slots is passed by."""
        beginning = sum(assigned.need.slots for assigned in self._beginning.values())
        for thing, assigned in list(self._waiting.items()):
            if self._executors.free - beginning < min(assigned.need.slots, self._executors.slots.total):
                break
            if self._executors.has_room(self._tasks[assigned.assignment.task], assigned.need):
                beginning += assigned.need.slots if assigned.assignment.at_most_once else 0
                self._begin(self._waiting.pop(thing))
        self._executors.reserved = self.waiting_slots.total()

    def may_begin(self, answer: TaskStartResult) -> None:
        """The start of a task that runs at most once is recorded, or it must not begin."""
        assigned = self._beginning.get(answer.lease.thing)
        if assigned is None or assigned.assignment.lease != answer.lease:
            return
        if answer.refusal is not None:
            self._drop(answer.lease)
            return
        del self._beginning[answer.lease.thing]
        self._start(assigned)

    def reported(self, answer: TaskReportResult) -> None:
        """What came of a task is recorded, or was not wanted any more."""
        if answer.refusal is None:
            self._spans.confirmed(answer.lease.thing)
        else:
            FENCED.add(("report", answer.refusal.reason))
            self._spans.forget(answer.lease.thing)

    def said(self, said: Said) -> bool:
        """Something was logged; whether it was an attempt that is here."""
        assigned = self._assigned.get(said.thing)
        if assigned is None or said.engine is not None or assigned.assignment.attempt != said.line.attempt:
            return False
        assigned.lines.add(said.line)
        return True

    def speak(self) -> None:
        """Send what was logged and still waits."""
        for assigned in self._assigned.values():
            if assigned.lines:
                self._progress(assigned)

    def _progress(self, assigned: _Assigned) -> None:
        # A coordinator of before logs would take a missing checkpoint for an empty one.
        message = wire.progress_to_wire(assigned.assignment.lease, assigned.checkpoint)
        message.task_progress.logs.extend(assigned.lines.take())
        self._say(message)

    def cancel(self, lease: Lease) -> None:
        """The lease is gone: stop, and report nothing."""
        held = self._assigned.get(lease.thing)
        if held is not None and held.assignment.lease == lease:
            self._drop(lease)

    def recall(self, lease: Lease) -> None:
        """Give it back for another worker, if it has not begun."""
        held = self._assigned.get(lease.thing)
        if held is None or held.assignment.lease != lease:
            self._say(wire.recall_ack_to_wire(lease, Refusing.NOT_HELD))
        elif lease.thing not in self._waiting:
            self._say(wire.recall_ack_to_wire(lease, Refusing.STARTED))
        else:
            self._say(wire.release_to_wire(lease))
            self._drop(lease)

    def drop_all(self, leases: Iterable[Lease] | None = None) -> None:
        """These leases are gone; all of them when none are named."""
        gone = [item.assignment.lease for item in self._assigned.values()] if leases is None else leases
        for lease in list(gone):
            self.cancel(lease)

    def hand_back_waiting(self) -> None:
        """Give back what has not started, and whatever comes later."""
        self._leaving = True
        for assigned in list(self._waiting.values()):
            self._say(wire.release_to_wire(assigned.assignment.lease))
            self._drop(assigned.assignment.lease)

    def hand_back_all(self) -> None:
        """Give back everything, and whatever comes later; what runs is stopped."""
        self._leaving = True
        for assigned in list(self._assigned.values()):
            self._say(wire.release_to_wire(assigned.assignment.lease))
            self._drop(assigned.assignment.lease)

    def _drop(self, lease: Lease) -> None:
        assigned = self._assigned.pop(lease.thing, None)
        self._waiting.pop(lease.thing, None)
        self._beginning.pop(lease.thing, None)
        if assigned is not None and assigned.attempt is not None:
            self._spans.forget(lease.thing)
            assigned.attempt.cancel()

    def _begin(self, assigned: _Assigned) -> None:
        assignment = assigned.assignment
        self._say(wire.task_start_to_wire(assignment.lease, answer=assignment.at_most_once))
        if assignment.at_most_once:
            self._beginning[assignment.lease.thing] = assigned
        else:
            self._start(assigned)

    def _start(self, assigned: _Assigned) -> None:
        assignment = assigned.assignment
        task = self._tasks[assignment.task]
        own = None if assignment.timeout_s is None else timedelta(seconds=assignment.timeout_s)
        now_ms = self._clock.now_ms()
        timeout_s = attempt_seconds(own, assignment.deadline_ms, now_ms)
        pulse = Pulse(assignment.checkpoint)
        context = TaskContext(
            run_id=assignment.lease.run_id,
            workflow_id=assignment.workflow_id,
            address=assignment.lease.address,
            attempt=assignment.attempt,
            deadline_ms=None if timeout_s is None else now_ms + round(timeout_s * 1000),
            completion_token=assignment.completion_token if task.options.deferred else "",
            pulse=pulse,
        )

        def tell(checkpoint: Payload) -> None:
            if self._assigned.get(assignment.lease.thing) is assigned:
                assigned.checkpoint = checkpoint
                self._progress(assigned)

        def over(attempt: Attempt, outcome: Outcome) -> None:
            self._over(assigned, attempt, outcome)

        self._executors.follow(task, pulse, tell, PROGRESS_SECONDS)
        if assignment.dispatched_ms:
            waited_ms = max(now_ms - assignment.dispatched_ms, 0)
            TASK_SCHEDULE_TO_START.record(waited_ms / 1000, (assignment.queue, task.name))
        thing = assignment.lease.thing
        place = place_of(thing, assignment.traceparent, assignment.trace_link)
        with self._spans.around(thing, place, assignment.attempt, task.name, kind=SpanKind.CONSUMER):
            assigned.attempt = self._executors.start(
                task, assignment.input, context, timeout_s, over, assignment.heartbeat_s, assigned.need
            )

    def _over(self, assigned: _Assigned, attempt: Attempt, outcome: Outcome) -> None:
        lease = assigned.assignment.lease
        if self._assigned.get(lease.thing) is not assigned:
            return
        # What it has logged last goes with its report.
        self._hear_logs()
        del self._assigned[lease.thing]
        measure_attempt(attempt, outcome, self._spans.ended(lease.thing, outcome))
        left = attempt.context.pulse.take()
        if left is not None and not isinstance(outcome, Returned):
            self._say(wire.progress_to_wire(lease, left))
        message = wire.report_to_wire(_report(lease, attempt, outcome))
        message.task_report.logs.extend(assigned.lines.take())
        self._say(message)


def _report(lease: Lease, attempt: Attempt, outcome: Outcome) -> TaskReport:
    if isinstance(outcome, Returned):
        return TaskReport(lease=lease, outcome=outcome.output, final=True, duration_ms=outcome.duration_ms)
    if isinstance(outcome, Deferred):
        return TaskReport(lease=lease, outcome=None, final=False, duration_ms=outcome.duration_ms)
    error = outcome.error
    # Subclasses count too, which the coordinator cannot know from names.
    final = is_final(attempt.task, error) or isinstance(error, attempt.task.options.retry.non_retryable)
    return TaskReport(
        lease=lease,
        outcome=outcome.failure,
        final=final,
        duration_ms=outcome.duration_ms,
        retry_after_s=error.delay.total_seconds() if isinstance(error, RetryAfter) else None,
    )
