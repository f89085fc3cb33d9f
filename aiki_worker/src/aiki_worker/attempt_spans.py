"""The spans of attempts that one lease began: each ends when what came of it is acknowledged, else never.

Invariant: an attempt whose outcome is not recorded has no span; it is made again, with the same ids. So the
recorded attempts of a run are spans exactly once each, as long as whoever ran them lives to send them.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from opentelemetry import context, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from aiki_worker.executors import Deferred, Outcome, Raised
from aiki_worker.trace_ids import Place, SpanRef, attempt_span, later_trace
from aiki_worker.tracing import Tracing, under

if TYPE_CHECKING:
    from collections.abc import Generator

NOTHING: Final = nullcontext()
Thing = tuple[str, str]
"""A run id, and the address of a task's call in it."""


class AttemptSpans:
    """By run and address, since one attempt of a task runs at a time."""

    def __init__(self, tracing: Tracing, identity: str) -> None:
        self._tracing = tracing
        self._identity = identity
        self._running: dict[Thing, Span] = {}
        self._ended: dict[Thing, tuple[Span, int]] = {}
        self._recorded: deque[tuple[int, Span, int]] = deque()

    def around(
        self, thing: Thing, place: Place | None, number: int, task: str, *, kind: SpanKind
    ) -> AbstractContextManager[None]:
        """What starts within this runs in the context of the attempt's span.

        Args:
            thing: run id and address of the task's call.
            place: where the span goes; None when the run has no trace.
            number: of the attempt, from 1.
            task: the task's name.
            kind: of the span.
        """
        if place is None or not self._tracing.is_on:
            return NOTHING
        return self._around(thing, place, number, task, kind)

    @contextmanager
    def _around(self, thing: Thing, place: Place, number: int, task: str, kind: SpanKind) -> Generator[None]:
        run_id, address = thing
        span_id = attempt_span(run_id, address, number)
        is_sampled = (place.parent or place.link or SpanRef("", "", sampled=False)).sampled
        span = None
        if is_sampled:
            span = self._tracing.begin(
                f"task {task}",
                span_id,
                place,
                kind=kind,
                attributes={
                    "aiki.run.id": run_id,
                    "aiki.task.name": task,
                    "aiki.task.address": address,
                    "aiki.task.attempt": number,
                    "aiki.worker": self._identity,
                },
            )
        if span is None:
            within = under(SpanRef(place.trace_id, span_id, sampled=False))
        else:
            self._running[thing] = span
            within = trace.set_span_in_context(span)
        token = context.attach(within)
        try:
            yield
        finally:
            context.detach(token)

    def ended(self, thing: Thing, outcome: Outcome | None) -> Span | None:
        """The attempt's code is over, now; without an outcome it was cancelled. Its span, if it has one."""
        span = self._running.pop(thing, None)
        if span is None:
            return None
        match outcome:
            case Raised():
                failure = outcome.failure
                told = {
                    "exception.type": failure.type,
                    "exception.message": failure.message,
                    "exception.stacktrace": failure.traceback,
                }
                span.add_event("exception", told)
                span.set_status(Status(StatusCode.ERROR, f"{failure.type}: {failure.message}"))
            case Deferred():
                span.set_attribute("aiki.task.outcome", "deferred")
            case None:
                span.set_attribute("aiki.task.outcome", "cancelled")
            case _:
                pass
        self._ended[thing] = span, time.time_ns()
        return span

    def recorded(self, thing: Thing, position: int) -> None:
        """What came of it is in the ledger, up to *position*."""
        ended = self._ended.pop(thing, None)
        if ended is not None:
            self._recorded.append((position, *ended))

    def acknowledged(self, position: int) -> None:
        """Everything up to *position* stands."""
        while self._recorded and self._recorded[0][0] <= position:
            _, span, at_ns = self._recorded.popleft()
            span.end(at_ns)

    def confirmed(self, thing: Thing) -> None:
        """What came of it stands."""
        self.recorded(thing, 0)
        self.acknowledged(0)

    def forget(self, thing: Thing) -> None:
        """The attempt does not count: its lease was lost."""
        self._running.pop(thing, None)
        self._ended.pop(thing, None)


def place_of(thing: Thing, traceparent: str, link: str) -> Place | None:
    """Where the span of a remote task's attempt goes, as its spec says; None when nobody traces."""
    parent, linked = SpanRef.parse(traceparent), SpanRef.parse(link)
    if parent is not None:
        return Place(parent.trace_id, parent, None)
    if linked is not None:
        return Place(later_trace("/".join(thing), 0), None, linked)
    return None
