"""The trace of one run: what its own span will say when it ends, and what others are told of it.

A run's span is made whole from its history when its end is recorded, by whoever recorded it: so it is there once,
however often the run was replayed. Waits are events of the span. Invariant: what is kept is bounded.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Final

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from aiki_task.failures import FailureInfo
from aiki_worker.trace_ids import Place, SpanRef, place_within, run_span
from aiki_worker.tracing import NS_PER_MS, Tracing, span_context
from aiki_workflow import events
from aiki_workflow.engine import RunEngine

NOTHING: Final = nullcontext()
KEPT_MAX: Final = 128
"""Events and links of one span, as OpenTelemetry has it by default."""

Told = tuple[str, int, dict[str, str | int]]


class RunTrace:
    """Lives beside the engine, and sees what the history gets.

    Attributes:
        own: the run's own span, whether or not it is made yet.
        is_on: whether spans are made here.
        keeps: whether the span will be made, so that what it is to say is kept.
    """

    def __init__(self, run_id: str, started: events.RunStarted, above: SpanRef, *, is_on: bool) -> None:
        self.own = SpanRef(above.trace_id, run_span(run_id), above.sampled)
        self.is_on = is_on
        self.keeps = is_on and above.sampled
        self.started = started
        self.run_id = run_id
        self._above = None if above.span_id == self.own.span_id else above
        self._ending: events.Ending | None = None
        self._links: list[SpanRef] = []
        self._told: list[Told] = []
        self._context: Context | None = None

    @staticmethod
    def of(run_id: str, first: events.Event, *, is_on: bool) -> RunTrace | None:
        """The trace that the first event of a history tells of; None when nobody traces the run."""
        if not isinstance(first, events.RunStarted):
            return None
        above = SpanRef.parse(first.traceparent)
        return None if above is None else RunTrace(run_id, first, above, is_on=is_on)

    def saw(self, event: events.Event) -> None:
        """The history has it, or is about to."""
        if not self.keeps:
            return
        link = ""
        match event:
            case events.SignalReceived():
                link = event.traceparent
                self._tell("signal received", event.at, {"aiki.signal": event.name})
            case events.UpdateReceived():
                link = event.traceparent
                self._tell("update received", event.at, {"aiki.update": event.name})
            case _ if isinstance(event, events.ENDINGS):
                self._ending = event
            case _ if type(event) in _TOLD:
                self._tell(_TOLD[type(event)], event.at, {"aiki.address": getattr(event, "address", "")})
            case _:
                pass
        ref = SpanRef.parse(link) if link else None
        if ref is not None and len(self._links) < KEPT_MAX:
            self._links.append(ref)

    def stamp(self, command: events.Command) -> events.Command:
        """The same command, and where in the trace it was given, if others are to know."""
        if isinstance(command, events.ChildScheduled):
            place = self.place(command.at)
            return replace(command, traceparent=str(place.parent or ""), trace_link=str(place.link or ""))
        if isinstance(command, events.SignalSent):
            return replace(command, traceparent=str(self.own))
        return command

    def place(self, at_ms: int) -> Place:
        """Where something that begins *at_ms* goes."""
        return place_within(self.run_id, self.own, at_ms - self.started.at)

    def around(self, engine: RunEngine) -> AbstractContextManager[None]:
        """The run's code, run within this, finds the run's span as the current one."""
        return self._around(engine) if self.is_on else NOTHING

    @contextmanager
    def _around(self, engine: RunEngine) -> Generator[None]:
        if self._context is None:
            self._context = trace.set_span_in_context(RunSpan(self.own, engine))
        token = context.attach(self._context)
        try:
            yield
        finally:
            context.detach(token)

    def close(self, tracing: Tracing, identity: str) -> None:
        """The end of the run is recorded: make its span."""
        ending = self._ending
        if not self.keeps or ending is None:
            return
        self.keeps = False
        link = SpanRef.parse(self.started.trace_link)
        span = tracing.begin(
            f"run {self.started.workflow}",
            self.own.span_id,
            Place(self.own.trace_id, self._above, link),
            at_ms=self.started.at,
            links=self._links,
            attributes={
                "aiki.worker": identity,
                "aiki.run.id": self.run_id,
                "aiki.workflow.id": self.started.workflow_id,
                "aiki.workflow.name": self.started.workflow,
                "aiki.workflow.version": self.started.version,
                "aiki.queue": self.started.queue,
                "aiki.run.state": STATES[type(ending)],
            },
        )
        if span is None:
            return
        for name, at_ms, told in self._told:
            span.add_event(name, told, at_ms * NS_PER_MS)
        failure: FailureInfo | None = getattr(ending, "failure", None)
        if failure is not None:
            span.set_status(Status(StatusCode.ERROR, f"{failure.type}: {failure.message}"))
        span.end(ending.at * NS_PER_MS)

    def _tell(self, name: str, at_ms: int, attributes: dict[str, str | int]) -> None:
        if len(self._told) < KEPT_MAX:
            self._told.append((name, at_ms, attributes))


class RunSpan(trace.NonRecordingSpan):
    """What workflow code finds as the current span: kept while the run is live, and not kept on replay.

    So spans of the author's, which take after it, are made once. The run's real span is made at its end.
    """

    def __init__(self, own: SpanRef, engine: RunEngine) -> None:
        super().__init__(span_context(own))
        self._engine = engine
        self._replaying = SpanContext(
            int(own.trace_id, 16),
            int(own.span_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(TraceFlags.DEFAULT),
        )

    def get_span_context(self) -> SpanContext:
        """Of a trace that is not kept, while the run replays."""
        return self._replaying if self._engine.loop.replaying else super().get_span_context()


_TOLD: Final[dict[type[events.Event], str]] = {
    events.TimerStarted: "waiting for a timer",
    events.TimerFired: "timer fired",
    events.TaskDispatched: "task queued",
    events.ChildScheduled: "child scheduled",
    events.ChildCompleted: "child completed",
    events.ChildFailed: "child failed",
    events.CancelRequested: "cancellation requested",
    events.RunPaused: "paused",
    events.RunResumed: "resumed",
}
STATES: Final[dict[type[events.Ending], str]] = {
    events.RunCompleted: "completed",
    events.RunFailed: "failed",
    events.RunCancelled: "cancelled",
    events.RunTimedOut: "timed_out",
    events.RunContinued: "continued",
}
