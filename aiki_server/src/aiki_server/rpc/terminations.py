"""What is told of a run that was ended from outside: no worker closes it."""

from __future__ import annotations

from aiki.v1 import history_pb2
from aiki_server.core.runs import RunRecord
from aiki_server.core.traces import RunTrace
from aiki_server.rpc.hub import Hub
from aiki_server.telemetry.metrics import RUNS_CLOSED


def tell_termination(hub: Hub, record: RunRecord, reason: str) -> None:
    """Count it, and make the run's span, as *record* and the first event of its history tell it; without one it never began."""
    RUNS_CLOSED.add((record.namespace, "terminated"))
    if not hub.traces.exports:
        return
    ended_ms = hub.stores.clock.now_ms()

    def tell(first: list[bytes]) -> None:
        if not first:
            return
        event = history_pb2.Event.FromString(first[0])
        started = event.run_started
        trace = RunTrace(started.traceparent, started.trace_link)
        hub.traces.terminated(record.run_id, record.workflow, trace, event.time_ms, ended_ms, reason)

    hub.when_done(hub.stores.runs.history(run_id=record.run_id, first=0, count=1), tell)
