"""Where in a trace a run's spans are: pure.

Invariant: the ids of a run's spans follow from the run alone, so that whoever makes a span, and however often,
makes the same one. `aiki_server.core.traces` derives the same ids; docs/protocol.md says how, for other languages.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

from aiki_task.records import record

TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
SAMPLED: Final = 1
TOGETHER_MS: Final = 5 * 60 * 1000
"""What begins later in a run than this is in traces of its own, one for each such stretch: stores of traces look
for the spans of one trace close together."""


@record
class SpanRef:
    """A span somewhere, known by its ids (hexadecimal) and by whether its trace is kept."""

    trace_id: str
    span_id: str
    sampled: bool

    def __str__(self) -> str:
        """The W3C traceparent."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @staticmethod
    def parse(traceparent: str) -> SpanRef | None:
        """What a traceparent names; None when it is none, which W3C Trace Context has everybody ignore."""
        found = TRACEPARENT.fullmatch(traceparent)
        if found is None or not int(found[1], 16) or not int(found[2], 16):
            return None
        return SpanRef(found[1], found[2], bool(int(found[3], 16) & SAMPLED))


@record
class Place:
    """Where a span goes: into `trace_id`, under `parent` if there is one, linked to `link` if there is one."""

    trace_id: str
    parent: SpanRef | None
    link: SpanRef | None


def run_span(run_id: str) -> str:
    """The id of the run's own span."""
    return attempt_span(run_id, "", 0)


def attempt_span(run_id: str, address: str, attempt: int) -> str:
    """The id of the span of one attempt of a task."""
    return sha256(f"{run_id}|{address}|{attempt}".encode()).hexdigest()[:16]


def later_trace(run_id: str, stretch: int) -> str:
    """The id of the trace of what begins in a later stretch of a long run; 0: of the run, if it begins one."""
    return sha256(f"{run_id}|trace|{stretch}".encode()).hexdigest()[:32]


def place_within(run_id: str, run: SpanRef, since_ms: int) -> Place:
    """Where what begins *since_ms* after its run did goes.

    Args:
        run_id: the run.
        run: the run's own span.
        since_ms: how long after the run.
    """
    stretch = since_ms // TOGETHER_MS
    if stretch <= 0:
        return Place(run.trace_id, run, None)
    return Place(later_trace(run_id, stretch), None, run)
