"""What a run under one lease tells of itself: metrics, logs, its trace, and spans of the attempts it began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from opentelemetry.trace import SpanKind

from aiki.v1 import common_pb2, worker_pb2
from aiki_worker.attempt_spans import NOTHING, AttemptSpans
from aiki_worker.clock import StoreClock
from aiki_worker.executors import Attempt, Outcome
from aiki_worker.messages import RunGrant
from aiki_worker.meters import measure_attempt
from aiki_worker.metrics import RUN_DURATION, RUN_SCHEDULE_TO_START, RUN_STALLS
from aiki_worker.run_ledger import RunLedger
from aiki_worker.run_logs import Lines
from aiki_worker.run_trace import STATES, RunTrace
from aiki_worker.trace_ids import Place
from aiki_worker.tracing import Tracing
from aiki_workflow import events
from aiki_workflow.engine import RunEngine


class Home(Protocol):
    """What this needs of a worker."""

    tracing: Tracing
    clock: StoreClock
    identity: str


class Remembered(Protocol):
    """What outlives the lease."""

    engine: RunEngine
    trace: RunTrace | None
    started_ms: int


class LeaseTrace:
    """Makes no spans for a run that nobody traces."""

    def __init__(self, grant: RunGrant, memory: Remembered, ledger: RunLedger, home: Home) -> None:
        self._grant = grant
        self._run_id = grant.lease.run_id
        self._ending: events.Ending | None = None
        self._lines = Lines()
        self._memory = memory
        self._ledger = ledger
        self._home = home
        self._spans = AttemptSpans(home.tracing, home.identity)

    def said(self, line: common_pb2.LogLine) -> None:
        """Its code, or a local attempt of its, has logged this."""
        self._lines.add(line)

    def speak(self) -> bool:
        """Have what was logged sent soon; False when there is nothing."""
        if self._lines:
            self._ledger.speak()
        return bool(self._lines)

    def take_along(self, commit: worker_pb2.Commit) -> None:
        """Put what was logged into a commit."""
        if self._lines:
            commit.logs.extend(self._lines.take())

    def begin(self, history: Sequence[events.Event]) -> None:
        """The engine is fresh, and is about to replay this."""
        self._memory.started_ms = history[0].at
        if self._grant.lease.epoch == 1:
            waited_ms = self._home.clock.now_ms() - history[0].at
            RUN_SCHEDULE_TO_START.record(max(waited_ms, 0) / 1000, (self._grant.workflow,))
        self._memory.trace = RunTrace.of(self._run_id, history[0], is_on=self._home.tracing.is_on)
        self.saw(history)

    def saw(self, recorded: Iterable[events.Event]) -> None:
        """The history has these, or is about to."""
        trace = self._memory.trace
        if trace is not None and trace.keeps:
            for event in recorded:
                trace.saw(event)

    def turn(self) -> AbstractContextManager[None]:
        """What runs the run's code."""
        trace = self._memory.trace
        return NOTHING if trace is None else trace.around(self._memory.engine)

    def stamped(self, commands: Sequence[events.Command]) -> Sequence[events.Command]:
        """The same commands, and in those that others act on, where in the trace they were given."""
        if commands and isinstance(commands[-1], events.ENDINGS):
            self._ending = commands[-1]
        trace = self._memory.trace
        if trace is None:
            return commands
        stamped = [trace.stamp(command) for command in commands]
        self.saw(stamped)
        return stamped

    def for_queue(self) -> tuple[str, str]:
        """What a task that goes to a queue takes along: the traceparent above it, and what it is linked to."""
        place = self._place()
        return ("", "") if place is None else (str(place.parent or ""), str(place.link or ""))

    def attempt(self, address: str, number: int, task: str) -> AbstractContextManager[None]:
        """What starts an attempt."""
        if not self._home.tracing.is_on:
            return NOTHING
        thing = self._run_id, address
        return self._spans.around(thing, self._place(), number, task, kind=SpanKind.INTERNAL)

    def ended(self, attempt: Attempt, outcome: Outcome) -> None:
        """An attempt's code is over."""
        span = self._spans.ended((self._run_id, attempt.context.address), outcome)
        measure_attempt(attempt, outcome, span)

    def recorded(self, address: str) -> None:
        """What came of it was just recorded."""
        self._spans.recorded((self._run_id, address), self._ledger.position)

    def cancelled(self, address: str) -> None:
        """That it is not wanted any more was just recorded."""
        self._spans.ended((self._run_id, address), None)
        self.recorded(address)

    def acknowledged(self) -> None:
        """An answer has come to a commit."""
        self._spans.acknowledged(self._ledger.acknowledged)

    def closed(self) -> None:
        """The end of the run stands."""
        if self._ending is None:
            return
        trace = self._memory.trace
        example = None if trace is None or not trace.keeps else (trace.own.trace_id, trace.own.span_id)
        took_ms = max(self._ending.at - self._memory.started_ms, 0)
        RUN_DURATION.record(took_ms / 1000, (self._grant.workflow, STATES[type(self._ending)]), example)
        if trace is not None:
            trace.close(self._home.tracing, self._home.identity)

    def stop(self) -> None:
        """The run is parked: what it did last does not count."""
        self._memory.trace = None
        self._ending = None
        RUN_STALLS.add((self._grant.workflow,))

    def _place(self) -> Place | None:
        trace = self._memory.trace
        return None if trace is None else trace.place(self._home.clock.now_ms())
