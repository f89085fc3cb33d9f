"""Starting runs."""

from __future__ import annotations

import hashlib
from typing import Final

import grpc

from aiki.v1 import history_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.deadlines import deadline_ms
from aiki_server.core.runs import Attention, Delivered, Existing, IdPolicy, NotFound, RunClosed, StartRun
from aiki_server.core.traces import RunTrace, SpanRef
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, closed, invalid, limit, limit_name, not_found
from aiki_server.rpc.matching import lane_at_once
from aiki_server.rpc.placements import placement_from_wire, placement_problem
from aiki_server.rpc.status import refuse
from aiki_server.rpc.tallies import tally_start
from aiki_server.rpc.views import Views
from aiki_server.telemetry.tracing import now_s

POLICIES: Final = {
    workflow_pb2.WORKFLOW_ID_POLICY_UNSPECIFIED: IdPolicy.EQUAL,
    workflow_pb2.WORKFLOW_ID_POLICY_REJECT: IdPolicy.REJECT,
    workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING: IdPolicy.RETURN_EXISTING,
    workflow_pb2.WORKFLOW_ID_POLICY_REPLACE_CLOSED: IdPolicy.REPLACE_CLOSED,
}


class Starts:
    """Starts a run, and has it granted on the spot if somebody is free."""

    def __init__(self, hub: Hub, views: Views) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._views = views

    async def start(
        self, request: workflow_pb2.StartRunRequest, context: Context
    ) -> workflow_pb2.StartRunResponse:
        """Start a run, or find the one that is there."""
        await self._validate(request, context)
        await self._require_room(context)
        begun_s = now_s()
        start, trace = self._start_of(request)
        handler = ids.workflow_handler(start.workflow, start.version)
        if request.require_worker:
            await self._require_worker(start, handler, context)
        about = Attention(
            *(start.run_id, start.namespace, start.queue, handler, None, ""),
            stalled=False,
            fresh=True,
            placement=start.placement,
        )
        lane = lane_at_once(about)
        session = None if start.begins_ms else self._hub.matching.pick(lane)
        future = self._stores.runs.start(start)
        if session is not None:
            self._hub.matching.grant(session, lane, start.run_id)
        outcome = await future
        if isinstance(outcome, Existing):
            return await self._existing(request, start, outcome, context)
        tally_start(start, repeat=outcome.repeat)
        if not outcome.repeat:
            self._hub.traces.started(start.run_id, start.workflow, trace, begun_s, parent=request.traceparent)
        waiting_for = ""
        if start.begins_ms:
            self._hub.timers_changed(ids.partition_of_run(start.run_id))
        elif session is None:
            self._hub.attend(about)
            waiting_for = await self._views.waiting_for(
                start.namespace, start.queue, start.workflow, start.version, start.placement
            )
        return workflow_pb2.StartRunResponse(
            run_id=outcome.run_id, started=not outcome.repeat, waiting_for=waiting_for
        )

    async def signal(
        self,
        namespace: str,
        run: workflow_pb2.RunReference,
        request_id: str,
        signal: history_pb2.SignalReceived,
        context: Context,
    ) -> str:
        """Put a message into a run's mailbox; the run it went to."""
        await limit_name(context, "name", signal.name)
        await limit_name(context, "request_id", request_id)
        await limit(context, "value", signal.value)
        if SpanRef.parse(signal.traceparent) is None:
            signal.traceparent = ""
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms(), signal_received=signal)
        outcome = await self._stores.runs.deliver(
            namespace=namespace or ids.DEFAULT_NAMESPACE,
            event=event.SerializeToString(),
            dedupe_id=request_id,
            run_id=run.run_id,
            workflow_id=run.workflow_id,
        )
        match outcome:
            case Delivered():
                self._hub.attend(outcome.attention)
            case RunClosed():
                await closed(context, outcome.run_id, outcome.state, "signals")
            case NotFound():
                await not_found(namespace, run, context)
        return outcome.run_id

    async def _validate(self, request: workflow_pb2.StartRunRequest, context: Context) -> None:
        for name in ("workflow", "request_id", "workflow_id"):
            await limit_name(context, name, getattr(request, name))
        await limit(context, "input", request.input)
        wrong = placement_problem(request.placement)
        if wrong:
            await invalid(context, wrong)
        for name in ("timeout", "chain_timeout", "delay"):
            if getattr(request, name).ToMilliseconds() < 0:
                await invalid(context, f"{name} must not be negative")
        if request.HasField("signal"):
            await limit_name(context, "the signal's name", request.signal.name)
            await limit(context, "the signal's value", request.signal.value)

    def _start_of(self, request: workflow_pb2.StartRunRequest) -> tuple[StartRun, RunTrace]:
        namespace = request.namespace or ids.DEFAULT_NAMESPACE
        queue = request.queue or ids.DEFAULT_QUEUE
        version = request.version or "1"
        run_id = ids.run_id_for(namespace, request.workflow_id, request.request_id, self._stores.partitions)
        trace = self._hub.traces.begin(run_id, request.workflow, parent=request.traceparent)
        now_ms = self._stores.clock.now_ms()
        begins_ms = now_ms + request.delay.ToMilliseconds() if request.delay.ToMilliseconds() else 0
        event = history_pb2.Event(time_ms=begins_ms or now_ms)
        started = event.run_started
        started.workflow, started.version = request.workflow, version
        started.workflow_id, started.queue = request.workflow_id, queue
        started.input.CopyFrom(request.input)
        if request.HasField("placement"):
            started.placement.CopyFrom(request.placement)
        started.timeout_ms = request.timeout.ToMilliseconds()
        started.attempt = 1
        started.traceparent, started.trace_link = trace.traceparent, trace.link
        if request.HasField("chain_timeout"):
            started.deadline_ms = (begins_ms or now_ms) + request.chain_timeout.ToMilliseconds()
        mail = b""
        if request.HasField("signal"):
            mail = history_pb2.Event(
                time_ms=begins_ms or now_ms, signal_received=request.signal
            ).SerializeToString()
        start = StartRun(
            namespace=namespace,
            workflow_id=request.workflow_id,
            run_id=run_id,
            workflow=request.workflow,
            version=version,
            queue=queue,
            input_hash=hashlib.blake2b(request.input.data, digest_size=8).hexdigest(),
            policy=POLICIES.get(request.id_policy, IdPolicy.EQUAL),
            started_event=event.SerializeToString(),
            begins_ms=begins_ms,
            mail=mail,
            deadline_ms=deadline_ms(event.time_ms, started.timeout_ms, started.deadline_ms),
            placement=placement_from_wire(request.placement),
        )
        return start, trace

    async def _existing(
        self,
        request: workflow_pb2.StartRunRequest,
        start: StartRun,
        outcome: Existing,
        context: Context,
    ) -> workflow_pb2.StartRunResponse:
        same = start.policy is IdPolicy.EQUAL and outcome.equal
        if not same and start.policy is not IdPolicy.RETURN_EXISTING:
            message = (
                f"workflow id {start.workflow_id!r} is taken by run {outcome.run_id} ({outcome.state}): "
                "choose another id, or an id policy that says what to do"
            )
            await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "WORKFLOW_ID_TAKEN", message)
        if request.HasField("signal"):
            there = workflow_pb2.RunReference(run_id=outcome.run_id)
            request_id = f"{request.request_id} signal"[:200]
            await self.signal(request.namespace, there, request_id, request.signal, context)
        return workflow_pb2.StartRunResponse(run_id=outcome.run_id, started=False)

    async def _require_room(self, context: Context) -> None:
        """A store that is unsafe or nearly full takes nothing new; what it has goes on."""
        health = self._stores.health
        if health.unsafe:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNSAFE", " ".join(health.unsafe))
        if health.is_nearly_full:
            message = "the store uses over 85 % of its maxmemory, so no run is started: give it more"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", message)

    async def _require_worker(self, start: StartRun, handler: str, context: Context) -> None:
        served = await self._stores.sessions.served(namespace=start.namespace)
        if (start.queue, handler) in served:
            return
        workflows = {(queue, name.removeprefix("w:")) for queue, name in served if name.startswith("w:")}
        names = sorted({name.rpartition(":")[0] for _, name in workflows})
        versions = sorted(
            {name.rpartition(":")[2] for _, name in workflows if name.rpartition(":")[0] == start.workflow}
        )
        if not versions:
            known = ", ".join(names) or "none"
            message = f"no worker serves a workflow {start.workflow!r}; served are: {known}"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "WORKFLOW_UNKNOWN", message)
        if start.version not in versions:
            message = f"no worker serves {start.workflow!r} in version {start.version!r}; served are: {', '.join(versions)}"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "VERSION_UNKNOWN", message)
        message = f"no worker serves {start.workflow!r} in queue {start.queue!r}"
        await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NO_WORKER", message)
