"""What a run under one lease tells of itself: its trace, and the spans of the attempts that the lease began."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from opentelemetry.trace import SpanKind

from aiki_worker.attempt_spans import NOTHING, AttemptSpans
from aiki_worker.clock import StoreClock
from aiki_worker.executors import Outcome
from aiki_worker.run_ledger import RunLedger
from aiki_worker.run_trace import RunTrace
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


class LeaseTrace:
    """Does nothing for a run that nobody traces."""

    def __init__(self, run_id: str, memory: Remembered, ledger: RunLedger, home: Home) -> None:
        self._run_id = run_id
        self._memory = memory
        self._ledger = ledger
        self._home = home
        self._spans = AttemptSpans(home.tracing, home.identity)

    def begin(self, history: Sequence[events.Event]) -> None:
        """The engine is fresh, and is about to replay this."""
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
        thing = self._run_id, address
        return self._spans.around(thing, self._place(), number, task, kind=SpanKind.INTERNAL)

    def ended(self, address: str, outcome: Outcome) -> None:
        """An attempt's code is over."""
        self._spans.ended((self._run_id, address), outcome)

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
        if self._memory.trace is not None:
            self._memory.trace.close(self._home.tracing, self._home.identity)

    def stop(self) -> None:
        """The run is parked: what it did last does not count."""
        self._memory.trace = None

    def _place(self) -> Place | None:
        trace = self._memory.trace
        return None if trace is None else trace.place(self._home.clock.now_ms())
