"""One run this worker holds: its engine, its ledger and its local attempts, kept in step.

Called on the main loop from plain callbacks, never inside an asyncio task: the engine has a loop of its
own. Invariant: the code sees inputs in the order in which the history has them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, NoReturn, Protocol

from aiki_task.context import TaskContext
from aiki_task.durations import to_ms
from aiki_task.failures import FailureInfo, from_exception
from aiki_task.payloads import Payload
from aiki_task.pulse import Pulse
from aiki_task.task import Task
from aiki_worker import wire
from aiki_worker.clock import StoreClock
from aiki_worker.executors import Attempt, Executors, Outcome, Raised, Returned, is_final
from aiki_worker.lease_trace import LeaseTrace
from aiki_worker.messages import Lease, RunGrant
from aiki_worker.placement import Served, attempt_seconds, placement_in, retry_at_ms
from aiki_worker.run_ledger import Commit, Dispatch, RunLedger, TaskSpec
from aiki_worker.run_trace import RunTrace
from aiki_worker.slots import Need
from aiki_worker.tracing import Tracing
from aiki_workflow import events
from aiki_workflow.engine import OpenTask, RunEngine
from aiki_workflow.errors import DivergedError, WorkflowBugError

HISTORY_EVENTS_MAX: Final = 50_000
"""A run whose history would become longer is parked."""

PROGRESS_SECONDS_MAX: Final = 30.0
"""How long what an attempt tells may wait until it is recorded."""

log = logging.getLogger(__name__)


class Host(Protocol):
    """What all runs of a worker share."""

    executors: Executors
    clock: StoreClock
    tracing: Tracing
    served: Served
    identity: str

    def handler(self, task: str) -> Task[..., Any]:
        """The function that serves *task* here."""
        ...

    def attempt_started(self, run: HeldRun, address: str, attempt: Attempt) -> None:
        """An attempt runs."""
        ...

    def attempt_over(self, run: HeldRun, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt is over; tell the run by `attempt_ended`, from a plain callback."""
        ...


@dataclass(slots=True, kw_only=True)
class Memory:
    """What outlives a lease: the engine, and what the engine does not know of open tasks.

    Attributes:
        failed: attempts that failed here, by address.
        deadlines_ms: when tasks with a total timeout must be over, by address.
        trace: where in a trace the run is, if it is in one.
        started_ms: when the run was started.
    """

    engine: RunEngine
    failed: dict[str, int] = field(default_factory=dict[str, int])
    deadlines_ms: dict[str, int] = field(default_factory=dict[str, int])
    trace: RunTrace | None = None
    started_ms: int = 0

    def close(self) -> None:
        """Give the engine's memory back."""
        self.engine.close()


class HeldRun:
    """A run under one lease."""

    def __init__(self, grant: RunGrant, memory: Memory, host: Host) -> None:
        self.lease: Lease = grant.lease
        self.lease_wire = wire.lease_to_wire(grant.lease)
        self.grant = grant
        self.memory = memory
        self.engine = memory.engine
        self.ledger = RunLedger()
        self._host = host
        self._attempts: dict[str, Attempt] = {}
        self.trace = LeaseTrace(grant, memory, self.ledger, host)

    @property
    def title(self) -> str:
        """For people."""
        return f"workflow {self.grant.workflow!r} (run {self.lease.run_id})"

    def replay(self, history: Sequence[events.Event]) -> None:
        """Bring a fresh engine to the end of *history*."""
        self.trace.begin(history)
        # Under the first lease, nothing has run yet but what was copied from another run.
        copied = (number for number, event in enumerate(history, 1) if isinstance(event, events.RunReset))
        executed = max(copied, default=0) if self.lease.epoch == 1 else None

        def turn() -> Sequence[events.Command]:
            return self.engine.replay(history, executed=executed)

        commands = self._turn(turn)
        if commands is None:
            return
        self._place_recorded(history)
        self._issue(commands, 0)

    def feed_recorded(self, recorded: Sequence[events.Event]) -> None:
        """Feed what the history has already: all of it is durable, whatever it leads to."""
        self.trace.saw(recorded)
        position = self.ledger.position
        for number, event in enumerate(recorded, start=1):
            if isinstance(event, events.TaskRetryDue):
                if event.address in self.engine.open_tasks:
                    self._place(event.address, position)
            elif isinstance(event, events.INPUTS) and self.ledger.may_feed:
                self._feed(event, position, recorded[number:])

    def attempt_ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """Record what came of a local attempt, and feed it if it is the task's outcome."""
        address = attempt.context.address
        if self._attempts.get(address) is not attempt:
            return
        del self._attempts[address]
        self.trace.ended(attempt, outcome)
        if not self.ledger.finished(address):
            return
        result = self._result_of(address, attempt, outcome)
        if result is not None and self.ledger.offer(result):
            self._feed_result(result)

    def feed_held(self) -> None:
        """Feed the results that came while mail was drained."""
        while (result := self.ledger.take_held()) is not None:
            self._feed_result(result)

    def due_commits(self) -> list[Commit]:
        """Start or dispatch what may start now, then say what is to be sent."""
        for address in self.ledger.admitted():
            task = self.engine.open_tasks.get(address)
            if task is None:
                continue
            executors, handler = self._host.executors, self._host.handler(task.call.name)
            if executors.has_room(handler, self._need(task), reserved=executors.reserved):
                self._start(address, task)
            else:
                self._dispatch(address, task)
        return self.ledger.due_commits()

    def tell_start(self, address: str, attempt: Attempt) -> None:
        """Record that an attempt has been going on for a while."""
        if self._attempts.get(address) is attempt:
            number = attempt.context.attempt
            now_ms = self._host.clock.now_ms()
            self.ledger.record_note(
                events.TaskStarted(at=now_ms, address=address, attempt=number, worker=self._host.identity)
            )

    def stall(self, failure: FailureInfo) -> None:
        """Park the run."""
        self.trace.stop()
        self.ledger.stall(failure)
        self.cancel_attempts()

    def cancel_attempts(self) -> None:
        """Nothing that runs here is wanted any more."""
        for attempt in self._attempts.values():
            attempt.cancel()
        self._attempts.clear()

    def close(self) -> None:
        """Give the run up: nothing is recorded any more."""
        self.cancel_attempts()
        self.memory.close()

    def _feed_result(self, result: events.Input) -> None:
        self.ledger.record_result(result)
        self.trace.saw((result,))
        if isinstance(result, events.TaskCompleted | events.TaskFailed):
            self.trace.recorded(result.address)
        self._feed(result, self.ledger.position)

    def _feed(self, event: events.Input, position: int, ahead: Sequence[events.Event] = ()) -> None:
        if self.grant.length + self.ledger.position > HISTORY_EVENTS_MAX and not self.engine.closed:
            self._turn(_refuse_to_grow)
            return
        commands = self._turn(lambda: self.engine.feed(event, ahead))
        if commands:
            self._issue(commands, position)

    def _turn(self, turn: Callable[[], Sequence[events.Command]]) -> Sequence[events.Command] | None:
        try:
            with self.trace.turn():
                return turn()
        except WorkflowBugError as error:
            failure = error.failure
        except DivergedError as error:
            failure = from_exception(error, kind="diverged")
        log.error("%s is stalled: %s: %s\n%s", self.title, failure.type, failure.message, failure.traceback)
        self.stall(failure)
        return None

    def _issue(self, commands: Sequence[events.Command], position: int) -> None:
        commands = self.trace.stamped(commands)
        self.ledger.record_commands(commands)
        for command in commands:
            match command:
                case events.TaskScheduled():
                    self._place(command.address, position, command.at)
                case events.TaskCancelled():
                    self._cancel(command.address)
                    self.ledger.flush()
                case _ if isinstance(command, events.ENDINGS):
                    self.ledger.close()
                    self.cancel_attempts()
                case _:
                    # Timers, children, signals, what is published: all of it is for others to see.
                    self.ledger.flush()

    def _place_recorded(self, history: Sequence[events.Event]) -> None:
        """Place what is open from before, unless it is in a queue or waits for its next attempt."""
        open_tasks = self.engine.open_tasks
        reset_at = max((event.at for event in history if isinstance(event, events.RunReset)), default=0)
        for event in history:
            if not isinstance(event, events.TaskScheduled):
                continue
            task = open_tasks.get(event.address)
            if task is None or task.dispatched:
                continue
            self.memory.failed[event.address] = task.attempts_failed
            if task.retry_at_ms is None:
                self._place(event.address, 0, max(event.at, reset_at))
            else:
                self._note_deadline(task, max(event.at, reset_at))

    def _place(self, address: str, position: int, scheduled_at: int | None = None) -> None:
        """Let a task run here as soon as it may, or send it to a queue."""
        task = self.engine.open_tasks.get(address)
        if task is None:
            return
        if scheduled_at is not None:
            self._note_deadline(task, scheduled_at)
        # One that may have killed a worker gets a lease of its own, which tells it from what runs beside it.
        is_suspect = self.grant.lease_losses > 0
        if not is_suspect and self._host.served.runs_here(
            task.call.name, task.call.options, self.grant.queue
        ):
            self.ledger.gate(address, position)
        else:
            self._dispatch(address, task)

    def _note_deadline(self, task: OpenTask, scheduled_at: int) -> None:
        total = task.call.options.total_timeout
        if total is not None:
            self.memory.deadlines_ms[task.address] = scheduled_at + to_ms(total)

    def _need(self, task: OpenTask) -> Need:
        options = task.call.options
        return Need(options.queue or self.grant.queue, options.placement.slots)

    def _dispatch(self, address: str, task: OpenTask) -> None:
        queue = task.call.options.queue or self.grant.queue
        traceparent, trace_link = self.trace.for_queue()
        spec = TaskSpec(
            address=address,
            task=task.call.name,
            input=task.input,
            queue=queue,
            options=task.call.options,
            deadline_ms=self.memory.deadlines_ms.get(address, 0),
            attempts_made=self.memory.failed.get(address, 0),
            workflow_id=self.grant.workflow_id,
            checkpoint=task.checkpoint,
            placement=placement_in(task.call.options.placement, self.grant.priority),
            traceparent=traceparent,
            trace_link=trace_link,
            dispatched_ms=self._host.clock.now_ms(),
        )
        note = events.TaskDispatched(at=self._host.clock.now_ms(), address=address, queue=queue)
        self.ledger.record_note(Dispatch(note, spec))

    def _start(self, address: str, task: OpenTask) -> None:
        host = self._host
        now_ms = host.clock.now_ms()
        deadline_ms = self.memory.deadlines_ms.get(address, 0)
        timeout_s = attempt_seconds(task.call.options.timeout, deadline_ms, now_ms)
        pulse = Pulse(task.checkpoint)
        context = TaskContext(
            run_id=self.lease.run_id,
            workflow_id=self.grant.workflow_id,
            address=address,
            attempt=self.memory.failed.get(address, 0) + 1,
            deadline_ms=None if timeout_s is None else now_ms + round(timeout_s * 1000),
            pulse=pulse,
        )
        self.ledger.started(address)
        handler = host.handler(task.call.name)
        host.executors.follow(handler, pulse, partial(self._tell_progress, pulse, task), PROGRESS_SECONDS_MAX)
        heartbeat = task.call.options.heartbeat_timeout
        heartbeat_s = None if heartbeat is None else heartbeat.total_seconds()
        with self.trace.attempt(address, context.attempt, handler.name):
            attempt = host.executors.start(
                handler, task.input, context, timeout_s, self._over, heartbeat_s, self._need(task)
            )
        self._attempts[address] = attempt
        host.attempt_started(self, address, attempt)

    def _tell_progress(self, pulse: Pulse, task: OpenTask, checkpoint: Payload) -> None:
        attempt = self._attempts.get(task.address)
        if attempt is not None and attempt.context.pulse is pulse:
            task.checkpoint = checkpoint
            self.ledger.record_note(
                events.TaskProgressed(
                    at=self._host.clock.now_ms(), address=task.address, checkpoint=checkpoint
                )
            )

    def _over(self, attempt: Attempt, outcome: Outcome) -> None:
        self._host.attempt_over(self, attempt, outcome)

    def _cancel(self, address: str) -> None:
        self.ledger.forget_task(address)
        self._forget(address)
        attempt = self._attempts.pop(address, None)
        if attempt is not None:
            self.trace.cancelled(address)
            attempt.cancel()

    def _forget(self, address: str) -> None:
        self.memory.failed.pop(address, None)
        self.memory.deadlines_ms.pop(address, None)

    def _result_of(self, address: str, attempt: Attempt, outcome: Outcome) -> events.Input | None:
        """The task's outcome; None when another attempt follows, which is recorded here."""
        now_ms = self._host.clock.now_ms()
        number = attempt.context.attempt
        if isinstance(outcome, Returned):
            self._forget(address)
            return events.TaskCompleted(
                at=now_ms,
                address=address,
                output=outcome.output,
                attempt=number,
                duration_ms=outcome.duration_ms,
                worker=self._host.identity,
            )
        assert isinstance(outcome, Raised), "a task that runs beside its run gives its outcome itself"
        due_ms = self._retry_at_ms(address, attempt, outcome, now_ms)
        if due_ms is None:
            self._forget(address)
            return events.TaskFailed(
                at=now_ms, address=address, failure=outcome.failure, worker=self._host.identity
            )
        self.memory.failed[address] = number
        self._keep_progress(address, attempt)
        self.ledger.record_note(
            events.TaskAttemptFailed(
                at=now_ms,
                address=address,
                attempt=number,
                failure=outcome.failure,
                retry_at_ms=due_ms,
                worker=self._host.identity,
            )
        )
        self.trace.recorded(address)
        return None

    def _keep_progress(self, address: str, attempt: Attempt) -> None:
        """Record what the attempt told and nobody took yet: the next one goes on from there."""
        task = self.engine.open_tasks.get(address)
        left = attempt.context.pulse.take()
        if task is not None and left is not None:
            task.checkpoint = left
            note = events.TaskProgressed(at=self._host.clock.now_ms(), address=address, checkpoint=left)
            self.ledger.record_note(note)

    def _retry_at_ms(self, address: str, attempt: Attempt, outcome: Raised, now_ms: int) -> int | None:
        task = self.engine.open_tasks.get(address)
        if task is None:
            return None
        return retry_at_ms(
            task.call.options,
            outcome.error,
            final=is_final(attempt.task, outcome.error),
            attempts_made=attempt.context.attempt,
            now_ms=now_ms,
            deadline_ms=self.memory.deadlines_ms.get(address, 0),
            random=random.random(),
        )


def _refuse_to_grow() -> NoReturn:
    message = (
        f"the history has {HISTORY_EVENTS_MAX:,} events, which is the limit: reset the run to an earlier event "
        "with code that uses continue_as_new, map or child workflows, or terminate it"
    )
    raise WorkflowBugError(FailureInfo(kind="bug", type="HistoryTooLongError", message=message))
