"""What is measured of attempts."""

from __future__ import annotations

from opentelemetry.trace import Span

from aiki_worker.executors import Attempt, Deferred, Outcome, Raised
from aiki_worker.metrics import TASK_DURATION


def measure_attempt(attempt: Attempt, outcome: Outcome, span: Span | None) -> None:
    """An attempt is over."""
    match outcome:
        case Raised():
            how = "failed"
        case Deferred():
            how = "deferred"
        case _:
            how = "completed"
    TASK_DURATION.record(outcome.duration_ms / 1000, (attempt.task.name, how), example_of(span))


def example_of(span: Span | None) -> tuple[str, str] | None:
    """The ids of a span that is kept, for an exemplar."""
    if span is None:
        return None
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"
