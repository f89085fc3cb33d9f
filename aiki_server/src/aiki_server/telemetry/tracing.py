"""Traces as far as a coordinator makes them: it decides at a run's start, and tells of starts and terminations.

Invariant: whether a run is traced is decided once, where it starts, and is part of its first event.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from aiki_server.core.traces import RunTrace, SpanRef, own_trace, run_span, start_span
from aiki_server.telemetry import otel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.context import Context
    from opentelemetry.util.types import Attributes

NS_PER_MS: Final = 1_000_000


class Traces:
    """The spans of this coordinator."""

    def __init__(self, instance: str) -> None:
        self._ids = otel.DerivedIds()
        self._provider = otel.tracer_provider("aiki-server", instance, self._ids)
        self._tracer = self._provider.get_tracer("aiki_server")
        self._sampler = None if otel.is_disabled() else self._provider.sampler
        self.exports = otel.exports_traces()

    def close(self) -> None:
        """Send what is left, if that takes no more than a moment."""
        if self.exports:
            otel.shut_down(self._provider)

    def begin(self, run_id: str, workflow: str, *, parent: str = "", link: str = "") -> RunTrace:
        """Decide on the trace of a run that is about to start.

        Args:
            run_id: the run.
            workflow: its name.
            parent: the traceparent of the span that starts it, or ''.
            link: that of a span it follows from and is no part of, or ''.
        """
        above, before = SpanRef.parse(parent), SpanRef.parse(link)
        trace_id = own_trace(run_id) if above is None else above.trace_id
        top = run_span(run_id) if above is None else above.span_id
        sampled = self._is_sampled(trace_id, f"start {workflow}", above, before)
        if sampled is None:
            return RunTrace(str(above or ""), str(before or ""))
        if sampled and self.exports:
            top = start_span(run_id)
        return RunTrace(str(SpanRef(trace_id, top, sampled)), str(before or ""))

    def started(
        self,
        run_id: str,
        workflow: str,
        trace_of_run: RunTrace,
        begun_s: float,
        *,
        parent: str = "",
        attributes: Attributes = None,
    ) -> None:
        """Tell of a run's start, once: not where it is found to have been started before."""
        own = SpanRef.parse(trace_of_run.traceparent)
        if own is None or not own.sampled or not self.exports or own.span_id != start_span(run_id):
            return
        self._ids.expect(trace_id=own.trace_id, span_id=own.span_id)
        span = self._tracer.start_span(
            f"start {workflow}",
            context=_context(SpanRef.parse(parent)),
            kind=SpanKind.SERVER,
            attributes={"aiki.run.id": run_id, "aiki.workflow.name": workflow, **(attributes or {})},
            links=_links(trace_of_run.link),
            start_time=int(begun_s * 1e9),
        )
        span.end()

    def terminated(
        self, run_id: str, workflow: str, trace_of_run: RunTrace, started_ms: int, ended_ms: int, reason: str
    ) -> None:
        """Tell of a run that was ended from outside: no worker will."""
        above = SpanRef.parse(trace_of_run.traceparent)
        if above is None or not above.sampled or not self.exports:
            return
        own = run_span(run_id)
        self._ids.expect(trace_id=above.trace_id, span_id=own)
        span = self._tracer.start_span(
            f"run {workflow}",
            context=_context(None if above.span_id == own else above),
            attributes={
                "aiki.run.id": run_id,
                "aiki.workflow.name": workflow,
                "aiki.run.state": "terminated",
            },
            links=_links(trace_of_run.link),
            start_time=started_ms * NS_PER_MS,
        )
        span.set_status(Status(StatusCode.ERROR, reason or "terminated"))
        span.end(ended_ms * NS_PER_MS)

    def _is_sampled(
        self, trace_id: str, name: str, above: SpanRef | None, before: SpanRef | None
    ) -> bool | None:
        """None when nobody is to decide here."""
        if self._sampler is None:
            return None
        if above is None and before is not None:
            return before.sampled
        result = self._sampler.should_sample(_context(above), int(trace_id, 16), name, SpanKind.SERVER)
        return result.decision is Decision.RECORD_AND_SAMPLE


def now_s() -> float:
    """The clock of spans."""
    return time.time()


def _context(above: SpanRef | None) -> Context:
    """Nothing else may be above: no current span of the caller's."""
    span = trace.INVALID_SPAN if above is None else NonRecordingSpan(_span_context(above))
    return trace.set_span_in_context(span)


def _span_context(ref: SpanRef) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if ref.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(ref.trace_id, 16), int(ref.span_id, 16), is_remote=True, trace_flags=flags)


def _links(traceparent: str) -> Sequence[Link]:
    ref = SpanRef.parse(traceparent)
    return () if ref is None else (Link(_span_context(ref)),)
