"""The caller's part of a trace: spans of the requests that begin something, and their traceparents.

Invariant: a program that does not use OpenTelemetry pays nothing, not even its import.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

API: Final = "opentelemetry.trace"
SCOPE: Final = "aiki_client"


@contextmanager
def calling(name: str, **attributes: str) -> Generator[str]:
    """A span around a request, if the program has set OpenTelemetry up; gives the traceparent to send along.

    Args:
        name: of the span.
        attributes: what it says besides, with `_` for `.`.
    """
    if API not in sys.modules:
        yield ""
        return
    from opentelemetry import trace

    told = {key.replace("_", "."): value for key, value in attributes.items() if value}
    tracer = trace.get_tracer(SCOPE)
    with tracer.start_as_current_span(name, kind=trace.SpanKind.CLIENT, attributes=told) as span:
        context = span.get_span_context()
        flag = "01" if context.trace_flags.sampled else "00"
        yield f"00-{context.trace_id:032x}-{context.span_id:016x}-{flag}" if context.is_valid else ""
