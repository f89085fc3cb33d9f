"""Acts on one entry of an outbox. Each effect may be repeated: the run it is about knows it by its address."""

from __future__ import annotations

import asyncio
import hashlib

from aiki.v1 import common_pb2, history_pb2
from aiki_server.core import ids
from aiki_server.core.deadlines import deadline_ms
from aiki_server.core.placement import ANYWHERE, PRIORITY_DEFAULT
from aiki_server.core.runs import (
    Attention,
    ChildRecord,
    Delivered,
    IdPolicy,
    NotFound,
    OutboxEntry,
    RunClosed,
    RunRecord,
    Started,
    StartRun,
    Terminated,
)
from aiki_server.core.traces import RunTrace
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.placements import placement_from_wire, placement_to_wire
from aiki_server.rpc.tallies import tally_start
from aiki_server.rpc.terminations import tell_termination
from aiki_server.telemetry.tracing import now_s

CLOSE_TOGETHER = 50
"""Children of one run that are told at a time."""


class Relay:
    """See the module."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    def target_of(self, entry: OutboxEntry) -> str:
        """What entries must be acted on in order for: a child, another workflow id, a parent."""
        if entry.kind == "moved":
            return f"{entry.target}/{entry.address}"
        if entry.kind != "command":
            # How children are closed comes after everything the run asked for.
            return entry.target if entry.kind == "done" else f"{entry.source}/"
        event = history_pb2.Event.FromString(entry.event)
        match event.WhichOneof("kind"):
            case "child_scheduled":
                return f"{entry.source}/{event.child_scheduled.address}"
            case "child_cancelled":
                return f"{entry.source}/{event.child_cancelled.address}"
            case _:
                return f"signal {event.signal_sent.workflow_id}"

    async def act(self, entry: OutboxEntry) -> None:
        """Do what the entry asks for, and tell its source.

        Raises:
            StoreError: not now; acting again later does no harm.
        """
        if entry.kind == "done":
            await self._child_is_done(entry)
            return
        if entry.kind == "closed":
            await self._close_children(entry)
            return
        if entry.kind == "moved":
            await self._tell_how_it_ended(entry)
            return
        event = history_pb2.Event.FromString(entry.event)
        match event.WhichOneof("kind"):
            case "child_scheduled":
                await self._start_child(entry, event)
            case "child_cancelled":
                child = await self._stores.control.child(
                    run_id=entry.source, address=event.child_cancelled.address
                )
                if child is not None:
                    await self._cancel(entry.namespace, child, f"cancelled by run {entry.source}")
            case _:
                await self._signal(entry, event)

    async def _start_child(self, entry: OutboxEntry, event: history_pb2.Event) -> None:
        child = event.child_scheduled
        begun_s = now_s()
        start, trace = await self._start_of(entry, event)
        outcome = await self._stores.runs.start(start)
        if not isinstance(outcome, Started) or outcome.refused:
            failure = common_pb2.Failure(
                kind=common_pb2.FAILURE_KIND_ERROR,
                type="WorkflowIdTaken",
                message=f"workflow id {child.workflow_id!r} is taken by an open run",
            )
            await self._settle(entry.source, child.address, "refused", failure=failure)
            return
        tally_start(start, repeat=outcome.repeat)
        if not outcome.repeat:
            self._hub.traces.started(start.run_id, start.workflow, trace, begun_s, parent=child.traceparent)
        if child.confirm:
            there = history_pb2.Event(time_ms=self._stores.clock.now_ms())
            there.child_started.address, there.child_started.run_id = child.address, start.run_id
            await self._tell(entry, there, f"started {child.address}")
        if start.begins_ms:
            self._hub.timers_changed(ids.partition_of_run(start.run_id))
        elif not outcome.repeat:
            handler = ids.workflow_handler(start.workflow, start.version)
            self._hub.attend(
                Attention(
                    *(start.run_id, start.namespace, start.queue, handler, None, ""),
                    stalled=False,
                    fresh=True,
                    placement=start.placement,
                )
            )

    async def _start_of(self, entry: OutboxEntry, event: history_pb2.Event) -> tuple[StartRun, RunTrace]:
        child = event.child_scheduled
        namespace, now_ms = entry.namespace, self._stores.clock.now_ms()
        record = await self._stores.runs.get(namespace=namespace, run_id=entry.source)
        begins_ms = now_ms + child.delay_ms if child.delay_ms else 0
        run_id = self._child_run_id(entry, child)
        trace = self._hub.traces.begin(
            run_id, child.workflow, parent=child.traceparent, link=child.trace_link
        )
        started_event = history_pb2.Event(time_ms=begins_ms or now_ms)
        started = started_event.run_started
        started.workflow, started.version = child.workflow, child.version
        started.workflow_id, started.queue = child.workflow_id, child.queue
        started.input.CopyFrom(child.input)
        started.timeout_ms = child.timeout_ms
        if child.chain_timeout_ms:
            started.deadline_ms = (begins_ms or now_ms) + child.chain_timeout_ms
        started.attempt = 1
        placement = placement_from_wire(
            child.placement, PRIORITY_DEFAULT if record is None else record.placement.priority
        )
        if placement != ANYWHERE:
            started.placement.CopyFrom(placement_to_wire(placement))
        started.traceparent, started.trace_link = trace.traceparent, trace.link
        started.parent_run_id = entry.source
        started.parent_workflow_id = "" if record is None else record.workflow_id
        start = StartRun(
            namespace=namespace,
            workflow_id=child.workflow_id,
            run_id=run_id,
            workflow=child.workflow,
            version=child.version,
            queue=child.queue,
            input_hash=hashlib.blake2b(child.input.data, digest_size=8).hexdigest(),
            policy=IdPolicy.REPLACE_CLOSED,
            started_event=started_event.SerializeToString(),
            begins_ms=begins_ms,
            deadline_ms=deadline_ms(started_event.time_ms, started.timeout_ms, started.deadline_ms),
            parent=entry.source,
            parent_address=child.address,
            placement=placement,
        )
        return start, trace

    def _child_run_id(self, entry: OutboxEntry, child: history_pb2.ChildScheduled) -> str:
        return ids.child_run_id(
            entry.namespace, child.workflow_id, entry.source, child.address, self._stores.partitions
        )

    async def _child_is_done(self, entry: OutboxEntry) -> None:
        await self._settle_ended(entry.target, entry.address, history_pb2.Event.FromString(entry.event))

    async def _tell_how_it_ended(self, entry: OutboxEntry) -> None:
        """Tell the run that took a child over; nothing, while the child is open."""
        child = await self._newest(entry.namespace, entry.event.decode())
        if child is None:
            failure = common_pb2.Failure(
                kind=common_pb2.FAILURE_KIND_ERROR,
                type="RunNotFound",
                message=f"the child's run {entry.event.decode()} is no longer kept",
            )
            await self._settle(entry.source, entry.address, "failed", failure=failure)
        elif child.closing_event:
            ending = history_pb2.Event.FromString(child.closing_event)
            await self._settle_ended(entry.source, entry.address, ending)

    async def _settle_ended(self, parent: str, address: str, ending: history_pb2.Event) -> None:
        kind = ending.WhichOneof("kind")
        if kind == "run_completed":
            await self._settle(parent, address, "completed", output=ending.run_completed.output)
            return
        if kind == "run_terminated":
            failure = common_pb2.Failure(
                kind=common_pb2.FAILURE_KIND_TERMINATED,
                type="RunTerminated",
                message=ending.run_terminated.reason or "it was terminated",
            )
        else:
            failure = getattr(ending, kind or "run_failed").failure
        await self._settle(parent, address, "failed", failure=failure)

    async def _settle(
        self,
        parent: str,
        address: str,
        state: str,
        *,
        output: common_pb2.Payload | None = None,
        failure: common_pb2.Failure | None = None,
    ) -> None:
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        if output is not None:
            event.child_completed.address = address
            event.child_completed.output.CopyFrom(output)
        else:
            event.child_failed.address = address
            event.child_failed.failure.CopyFrom(failure or common_pb2.Failure())
        attention = await self._stores.control.settle_child(
            parent=parent, address=address, event=event.SerializeToString(), state=state
        )
        self._hub.attend(attention)

    async def _close_children(self, entry: OutboxEntry) -> None:
        children = await self._stores.control.children(run_id=entry.source, only_open=True)
        for at in range(0, len(children), CLOSE_TOGETHER):
            page = children[at : at + CLOSE_TOGETHER]
            await asyncio.gather(*(self._close_child(entry, child) for child in page))

    async def _close_child(self, entry: OutboxEntry, child: ChildRecord) -> None:
        reason = f"run {entry.source}, which started it, has closed"
        if child.policy == "cancel":
            await self._cancel(entry.namespace, child, reason)
        elif child.policy == "terminate":
            record = await self._newest(entry.namespace, child.run_id)
            if record is not None:
                event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
                event.run_terminated.reason = reason
                outcome = await self._stores.control.terminate(record, event.SerializeToString())
                self._hub.terminated(record.run_id, outcome)
                if isinstance(outcome, Terminated):
                    tell_termination(self._hub, record, reason)

    async def _newest(self, namespace: str, run_id: str) -> RunRecord | None:
        """The run that a chain has come to."""
        record = await self._stores.runs.get(namespace=namespace, run_id=run_id)
        while record is not None and record.next:
            record = await self._stores.runs.get(namespace=namespace, run_id=record.next)
        return record

    async def _cancel(self, namespace: str, child: ChildRecord, reason: str) -> None:
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.cancel_requested.reason = reason
        outcome = await self._stores.runs.deliver(
            namespace=namespace,
            event=event.SerializeToString(),
            dedupe_id=f"cancel {child.address} {child.run_id}",
            run_id=child.run_id,
            anyway=True,
        )
        if isinstance(outcome, Delivered):
            self._hub.attend(outcome.attention)

    async def _signal(self, entry: OutboxEntry, event: history_pb2.Event) -> None:
        sent = event.signal_sent
        mail = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        mail.signal_received.name = sent.name
        mail.signal_received.traceparent = sent.traceparent
        mail.signal_received.value.CopyFrom(sent.value)
        outcome = await self._stores.runs.deliver(
            namespace=entry.namespace,
            event=mail.SerializeToString(),
            dedupe_id=f"{entry.source}/{sent.address}",
            workflow_id=sent.workflow_id,
        )
        answer = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        answer.signal_delivered.address = sent.address
        match outcome:
            case Delivered():
                self._hub.attend(outcome.attention)
            case RunClosed():
                _refuse(answer, "RunClosed", f"run {outcome.run_id} is {outcome.state}")
            case NotFound():
                _refuse(answer, "RunNotFound", f"there is no run with workflow id {sent.workflow_id!r}")
        await self._tell(entry, answer, f"signalled {sent.address}")

    async def _tell(self, entry: OutboxEntry, event: history_pb2.Event, dedupe_id: str) -> None:
        """Answer the run that the entry comes from."""
        outcome = await self._stores.runs.deliver(
            namespace=entry.namespace,
            event=event.SerializeToString(),
            dedupe_id=f"{entry.source} {dedupe_id}",
            run_id=entry.source,
            anyway=True,
        )
        if isinstance(outcome, Delivered):
            self._hub.attend(outcome.attention)


def _refuse(answer: history_pb2.Event, kind: str, message: str) -> None:
    failure = answer.signal_delivered.failure
    failure.kind = common_pb2.FAILURE_KIND_ERROR
    failure.type, failure.message = kind, message
