"""The run that continues one: made from how that one began and how it ended."""

from __future__ import annotations

from aiki.v1 import history_pb2
from aiki_server.core import ids
from aiki_server.core.deadlines import deadline_ms
from aiki_server.core.runs import NextRun
from aiki_server.core.traces import SpanRef, own_trace, run_span


def next_run_of(
    run_id: str,
    namespace: str,
    partitions: int,
    first: history_pb2.RunStarted,
    continued: history_pb2.RunContinued,
    now_ms: int,
) -> NextRun:
    """Its id follows from that of the run before, so that a repeat makes the same one."""
    next_id = ids.run_id_for(namespace, first.workflow_id, f"continue/{run_id}", partitions)
    begins_ms = now_ms + continued.delay_ms if continued.delay_ms else 0
    event = history_pb2.Event(time_ms=begins_ms or now_ms)
    started = event.run_started
    started.CopyFrom(first)
    started.version = continued.version
    started.input.CopyFrom(continued.input)
    started.seed = ""
    # Each run of a chain is a trace of its own, else an endless one would be an endless trace.
    before = SpanRef.parse(first.traceparent)
    if before is not None:
        started.traceparent = str(SpanRef(own_trace(next_id), run_span(next_id), before.sampled))
        started.trace_link = str(SpanRef(before.trace_id, run_span(run_id), before.sampled))
    started.timeout_ms = continued.timeout_ms
    started.continued_from = run_id
    started.chain_index = first.chain_index + 1
    started.attempt = max(continued.attempt, 1)
    signals = [history_pb2.Event(time_ms=now_ms, signal_received=signal) for signal in continued.signals]
    updates = [history_pb2.Event(time_ms=now_ms, update_received=update) for update in continued.updates]
    return NextRun(
        run_id=next_id,
        workflow_id=first.workflow_id,
        version=continued.version,
        begins_ms=begins_ms,
        deadline_ms=deadline_ms(event.time_ms, started.timeout_ms, started.deadline_ms),
        mail=[entry.SerializeToString() for entry in (event, *signals, *updates)],
    )
