"""Spans of this process: made with ids that follow from the run, and handed to whatever OpenTelemetry is set up.

Invariant: without anywhere to send spans to, none is made; what a run passes on to others is passed on all the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags, Tracer

from aiki_worker.trace_ids import Place, SpanRef

if TYPE_CHECKING:
    from opentelemetry.util.types import Attributes

NS_PER_MS: Final = 1_000_000
SCOPE: Final = "aiki_worker"
SDK: Final = "opentelemetry.sdk.trace"
ENDPOINTS: Final = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
)


class Ids(Protocol):
    """Gives the next span of this thread the ids that it is to have."""

    def expect(self, *, trace_id: str, span_id: str) -> None: ...


class Tracing:
    """Makes spans; `is_on` says whether anybody gets them."""

    def __init__(self, tracer: Tracer | None = None, ids: Ids | None = None) -> None:
        self._tracer = tracer
        self._ids = ids

    @property
    def is_on(self) -> bool:
        """Whether spans are made."""
        return self._tracer is not None

    @classmethod
    def of_process(cls, instance: str, environment: Mapping[str, str] = os.environ) -> Tracing:
        """As the environment says, or as what was imported has set it up."""
        # The SDK takes a tenth of a second to import.
        if SDK not in sys.modules and not any(environment.get(name) for name in ENDPOINTS):
            return cls()
        from aiki_worker import otel

        ids = otel.DerivedIds()
        provider = otel.provider_of_process(instance, ids)
        return cls() if provider is None else cls(provider.get_tracer(SCOPE), ids)

    def within(self, traceparent: str) -> AbstractContextManager[None]:
        """Code that runs within this finds that span as the current one, if anybody gets spans here."""
        ref = SpanRef.parse(traceparent) if self.is_on else None
        return nullcontext() if ref is None else _within(ref)

    def begin(
        self,
        name: str,
        span_id: str,
        place: Place,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        at_ms: int | None = None,
        links: Sequence[SpanRef] = (),
        attributes: Attributes = None,
    ) -> Span | None:
        """A span, begun *at_ms* or now; None when nobody gets it."""
        if self._tracer is None or self._ids is None:
            return None
        self._ids.expect(trace_id=place.trace_id, span_id=span_id)
        linked = links if place.link is None else (place.link, *links)
        return self._tracer.start_span(
            name,
            context=under(place.parent),
            kind=kind,
            attributes=attributes,
            links=[Link(span_context(ref)) for ref in linked],
            start_time=None if at_ms is None else at_ms * NS_PER_MS,
        )


@contextmanager
def _within(ref: SpanRef) -> Generator[None]:
    token = context.attach(under(ref))
    try:
        yield
    finally:
        context.detach(token)


def current_traceparent() -> str:
    """The current span, for another process; '' when there is none."""
    now = trace.get_current_span().get_span_context()
    if not now.is_valid:
        return ""
    ref = SpanRef(f"{now.trace_id:032x}", f"{now.span_id:016x}", bool(now.trace_flags.sampled))
    return str(ref)


def under(ref: SpanRef | None) -> Context:
    """A context in which *ref* is the current span; with None, none is."""
    span = trace.INVALID_SPAN if ref is None else NonRecordingSpan(span_context(ref))
    return trace.set_span_in_context(span)


def span_context(ref: SpanRef) -> SpanContext:
    """The same, for OpenTelemetry."""
    flags = TraceFlags(TraceFlags.SAMPLED if ref.sampled else TraceFlags.DEFAULT)
    return SpanContext(int(ref.trace_id, 16), int(ref.span_id, 16), is_remote=True, trace_flags=flags)


def shut_down() -> None:
    """Send what is left, if that takes no more than a moment: the process is about to end."""
    if SDK in sys.modules:
        from aiki_worker import otel

        provider: Any = trace.get_tracer_provider()
        otel.shut_down(provider)
