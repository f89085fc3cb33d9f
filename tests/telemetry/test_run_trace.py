"""What a run's span says, and what others are told of it."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from aiki_task.failures import FailureInfo
from aiki_task.payloads import Payload
from aiki_worker.otel import DerivedIds
from aiki_worker.run_trace import KEPT_MAX, RunTrace
from aiki_worker.trace_ids import TOGETHER_MS, SpanRef, run_span
from aiki_worker.tracing import Tracing
from aiki_workflow import events

RUN = "3-00112233445566778899"
ABOVE = SpanRef("a" * 32, "b" * 16, sampled=True)
SENDER = SpanRef("c" * 32, "d" * 16, sampled=True)
AT = 1_000_000
NOTHING = Payload(b"null", "json")


def _started(traceparent: str, link: str = "") -> events.RunStarted:
    return events.RunStarted(
        AT, "buy", "1", NOTHING, "w", "default", traceparent=traceparent, trace_link=link
    )


def _trace(ref: SpanRef = ABOVE) -> RunTrace:
    trace = RunTrace.of(RUN, _started(str(ref)), is_on=True)
    assert trace is not None
    return trace


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """What was sent."""
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    """Spans go to the exporter."""
    ids = DerivedIds()
    provider = TracerProvider(id_generator=ids, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Tracing(provider.get_tracer("tests"), ids)
    provider.shutdown()


def _only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def test_a_run_that_nobody_traces_has_none() -> None:
    """Nor has one whose first event says nothing."""
    assert RunTrace.of(RUN, _started(""), is_on=True) is None
    assert RunTrace.of(RUN, events.TimerFired(AT, "t"), is_on=True) is None


def test_the_span_is_made_once_at_the_end(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    """With what happened as events, and who sent signals as links."""
    trace = _trace()
    trace.saw(events.TimerStarted(AT + 1, "timer/1", AT + 9))
    trace.saw(events.SignalReceived(AT + 2, "approved", NOTHING, str(SENDER)))
    trace.close(tracing, "worker")
    assert not exporter.get_finished_spans(), "it has not ended"

    trace.saw(events.RunFailed(AT + 20, FailureInfo(kind="error", type="Broke", message="no money")))
    trace.close(tracing, "worker")
    trace.close(tracing, "worker")

    span = _only(exporter)
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.context.span_id:016x}" == run_span(RUN)
    assert f"{span.parent.span_id:016x}" == ABOVE.span_id
    assert (span.start_time, span.end_time) == (AT * 10**6, (AT + 20) * 10**6)
    assert [event.name for event in span.events] == ["waiting for a timer", "signal received"]
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SENDER.span_id]
    assert span.status.description == "Broke: no money"


def test_a_run_that_begins_a_trace_has_nothing_above(
    tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    """Its traceparent names itself; what it follows from is linked."""
    own = SpanRef("e" * 32, run_span(RUN), sampled=True)
    trace = RunTrace.of(RUN, _started(str(own), str(SENDER)), is_on=True)
    assert trace is not None
    trace.saw(events.RunCompleted(AT + 1, NOTHING))
    trace.close(tracing, "worker")

    span = _only(exporter)
    assert span.context is not None
    assert span.parent is None
    assert f"{span.context.trace_id:032x}" == own.trace_id
    assert [f"{link.context.span_id:016x}" for link in span.links] == [SENDER.span_id]


def test_a_run_that_is_not_kept_makes_no_span(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    """And tells its children so."""
    trace = _trace(SpanRef(ABOVE.trace_id, ABOVE.span_id, sampled=False))
    trace.saw(events.RunCompleted(AT + 1, NOTHING))
    trace.close(tracing, "worker")

    assert not exporter.get_finished_spans()
    child = trace.stamp(_child(AT))
    assert isinstance(child, events.ChildScheduled)
    assert child.traceparent == f"00-{ABOVE.trace_id}-{run_span(RUN)}-00"


def test_children_and_signals_take_the_trace_along() -> None:
    """A child that is begun late is linked, not nested."""
    trace = _trace()
    own = str(SpanRef(ABOVE.trace_id, run_span(RUN), sampled=True))

    soon, late = trace.stamp(_child(AT)), trace.stamp(_child(AT + TOGETHER_MS))
    sent = trace.stamp(events.SignalSent(AT, "signal/1", "w2", "hello", NOTHING))

    assert isinstance(soon, events.ChildScheduled)
    assert isinstance(late, events.ChildScheduled)
    assert isinstance(sent, events.SignalSent)
    assert (soon.traceparent, soon.trace_link) == (own, "")
    assert (late.traceparent, late.trace_link) == ("", own)
    assert sent.traceparent == own


def test_what_is_kept_is_bounded(tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    """However often a run is signalled."""
    trace = _trace()
    for number in range(10 * KEPT_MAX):
        trace.saw(events.SignalReceived(AT + number, "tick", NOTHING, str(SENDER)))
    trace.saw(events.RunCompleted(AT + 1, NOTHING))
    trace.close(tracing, "worker")

    span = _only(exporter)
    assert (len(span.events), len(span.links)) == (KEPT_MAX, KEPT_MAX)


def _child(at: int) -> events.ChildScheduled:
    return events.ChildScheduled(at, "child/1", "ship", "1", "ship-1", "default", NOTHING, "cancel")
