"""Where in a trace a run is: pure.

Invariant: the ids of a run's spans follow from the run alone, so that whoever makes a span, and however often,
makes the same one. `aiki_worker.trace_ids` derives the same ids; docs/protocol.md says how, for other languages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

TRACEPARENT: Final = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RunTrace:
    """What a run's first event says of its trace; empty texts when nobody traces."""

    traceparent: str = ""
    link: str = ""


def run_span(run_id: str) -> str:
    """The id of the run's own span."""
    return _span(run_id, "", 0)


def start_span(run_id: str) -> str:
    """The id of the span of the run's start, which is above the run's own."""
    return _span(run_id, "start", 0)


def attempt_span(run_id: str, address: str, attempt: int) -> str:
    """The id of the span of one attempt of a task."""
    return _span(run_id, address, attempt)


def own_trace(run_id: str) -> str:
    """The id of the trace of a run that begins one."""
    return sha256(f"{run_id}|trace|0".encode()).hexdigest()[:32]


def _span(run_id: str, address: str, attempt: int) -> str:
    return sha256(f"{run_id}|{address}|{attempt}".encode()).hexdigest()[:16]
