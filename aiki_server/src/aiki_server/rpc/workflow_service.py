"""The service of clients."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc

from aiki.v1 import common_pb2, history_pb2, workflow_pb2, workflow_pb2_grpc
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    Delivered,
    Existing,
    IdPolicy,
    NotFound,
    NotStalled,
    RunClosed,
    RunRecord,
    RunState,
    StartRun as NewRun,
    TaskState,
)
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.status import answering, refuse, refuse_store
from aiki_server.store.errors import StoreError

PAYLOAD_BYTES_MAX = 2 * 1024 * 1024
WAIT_SECONDS_MAX = 60.0
LOOK_AGAIN_SECONDS = 3.0
HISTORY_PAGE = 500
CLOSING = frozenset({"run_completed", "run_failed"})
WORKFLOW_ID_CHARACTERS_MAX = 200
STATES = {
    RunState.RUNNING: common_pb2.RUN_STATE_RUNNING,
    RunState.WAITING: common_pb2.RUN_STATE_WAITING,
    RunState.STALLED: common_pb2.RUN_STATE_STALLED,
    RunState.COMPLETED: common_pb2.RUN_STATE_COMPLETED,
    RunState.FAILED: common_pb2.RUN_STATE_FAILED,
}
POLICIES = {
    workflow_pb2.WORKFLOW_ID_POLICY_UNSPECIFIED: IdPolicy.EQUAL,
    workflow_pb2.WORKFLOW_ID_POLICY_REJECT: IdPolicy.REJECT,
    workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING: IdPolicy.RETURN_EXISTING,
    workflow_pb2.WORKFLOW_ID_POLICY_REPLACE_CLOSED: IdPolicy.REPLACE_CLOSED,
}
TASK_STATES = {TaskState.READY: "queued", TaskState.LEASED: "running", TaskState.BACKOFF: "backoff"}
Context = grpc.aio.ServicerContext[Any, Any]


async def _invalid(context: Context, message: str, reason: str = "INVALID_ARGUMENT") -> NoReturn:
    await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, reason, message)


class WorkflowService(workflow_pb2_grpc.WorkflowServiceServicer):
    """Start runs, wait for them, look at them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    @answering
    async def StartRun(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.StartRunRequest, context: Context
    ) -> workflow_pb2.StartRunResponse:
        """Start a run, and grant it on the spot if somebody is free."""
        await self._validate(request, context)
        await self._require_room(context)
        start = self._start_of(request)
        handler = ids.workflow_handler(start.workflow, start.version)
        if request.require_worker:
            await self._require_worker(start, handler, context)
        session = self._hub.pick(start.namespace, start.queue, handler)
        future = self._stores.runs.start(start)
        if session is not None:
            self._hub.grant(session, start.run_id)
        outcome = await future
        if isinstance(outcome, Existing):
            return await self._existing(start, outcome, context)
        waiting_for = ""
        if session is None:
            partition_key = Attention(
                start.run_id, start.namespace, start.queue, handler, None, "", stalled=False, fresh=True
            )
            self._hub.attend(partition_key)
            waiting_for = await self._waiting_for(start.namespace, start.queue, start.workflow, start.version)
        return workflow_pb2.StartRunResponse(
            run_id=outcome.run_id, started=not outcome.repeat, waiting_for=waiting_for
        )

    @answering
    async def GetRun(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.GetRunRequest, context: Context
    ) -> workflow_pb2.GetRunResponse:
        """One run, as it stands."""
        record = await self._find(request.namespace, request.run, context)
        return workflow_pb2.GetRunResponse(run=await self._view(record))

    @answering
    async def WaitRun(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.WaitRunRequest, context: Context
    ) -> workflow_pb2.WaitRunResponse:
        """One run, when it is closed or stalled, or when the time is up."""
        run_id = (await self._find(request.namespace, request.run, context)).run_id
        wanted = request.timeout.ToMilliseconds() / 1000
        seconds = min(wanted, WAIT_SECONDS_MAX) if request.HasField("timeout") else WAIT_SECONDS_MAX
        await self._wait(run_id, time.monotonic() + seconds)
        reference = workflow_pb2.RunReference(run_id=run_id)
        return workflow_pb2.WaitRunResponse(
            run=await self._view(await self._find(request.namespace, reference, context))
        )

    async def _wait(self, run_id: str, give_up_at: float) -> None:
        """Until the run is closed or stalled, the time is up, or this coordinator goes."""
        with self._hub.watching(run_id) as ended:
            while not self._hub.draining.is_set():
                ended.clear()
                state = await self._stores.runs.watch(run_id=run_id, coordinator_id=self._hub.coordinator_id)
                left = give_up_at - time.monotonic()
                if isinstance(state, NotFound) or state.is_closed or state is RunState.STALLED or left <= 0:
                    return
                await _set_within(ended, min(left, LOOK_AGAIN_SECONDS))

    @answering
    async def ListRuns(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.ListRunsRequest, context: Context
    ) -> workflow_pb2.ListRunsResponse:
        """Runs, newest first."""
        if not 0 <= request.page_size <= 1000:
            await _invalid(context, "page_size must be 0 to 1000")
        by_wire = {number: state for state, number in STATES.items()}
        try:
            records, token = await self._stores.listing.page(
                namespace=request.namespace or ids.DEFAULT_NAMESPACE,
                size=request.page_size or 50,
                token=request.page_token,
                workflow=request.workflow,
                states=[by_wire[state] for state in request.states if state in by_wire],
            )
        except ValueError:
            await _invalid(context, "page_token is none that this cluster made")
        return workflow_pb2.ListRunsResponse(
            runs=[_brief(record) for record in records], next_page_token=token
        )

    async def GetHistory(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.GetHistoryRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetHistoryResponse]:
        """A run's history, in pages."""
        record = await self._find(request.namespace, request.run, context)
        try:
            async for page in self._pages(record.run_id, request, context):
                yield page
        except StoreError as error:
            await refuse_store(context, error)

    async def _pages(
        self, run_id: str, request: workflow_pb2.GetHistoryRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetHistoryResponse]:
        first = request.first_index
        with self._hub.following(run_id) as grew:
            while True:
                grew.clear()
                events = await self._stores.runs.history(run_id=run_id, first=first, count=HISTORY_PAGE)
                if events:
                    parsed = [history_pb2.Event.FromString(event) for event in events]
                    yield workflow_pb2.GetHistoryResponse(run_id=run_id, first_index=first, events=parsed)
                    first += len(events)
                    if parsed[-1].WhichOneof("kind") in CLOSING:
                        return
                elif not request.follow:
                    return
                elif self._hub.draining.is_set():
                    message = "this coordinator is going: ask another"
                    await refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING", message)
                else:
                    # What another coordinator commits is not told here, and is seen a little later.
                    await _set_within(grew, FOLLOW_SECONDS)

    @answering
    async def SignalRun(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.SignalRunRequest, context: Context
    ) -> workflow_pb2.SignalRunResponse:
        """Put a message into a run's mailbox."""
        if not request.name or not request.request_id:
            await _invalid(context, "a signal needs name and request_id")
        await self._limit(context, "value", request.value)
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.signal_received.name = request.name
        event.signal_received.value.CopyFrom(request.value)
        outcome = await self._stores.runs.deliver(
            namespace=request.namespace or ids.DEFAULT_NAMESPACE,
            event=event.SerializeToString(),
            dedupe_id=request.request_id,
            run_id=request.run.run_id,
            workflow_id=request.run.workflow_id,
        )
        match outcome:
            case Delivered():
                self._hub.attend(outcome.attention)
            case RunClosed():
                message = f"run {outcome.run_id} is {outcome.state}: it takes no signals any more"
                await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "RUN_CLOSED", message)
            case NotFound():
                await self._not_found(request.namespace, request.run, context)
        return workflow_pb2.SignalRunResponse(run_id=outcome.run_id)

    @answering
    async def ResumeRun(  # noqa: N802  the rpc's name
        self, request: workflow_pb2.ResumeRunRequest, context: Context
    ) -> workflow_pb2.ResumeRunResponse:
        """Wake a stalled run."""
        record = await self._find(request.namespace, request.run, context)
        outcome = await self._stores.runs.unstall(run_id=record.run_id)
        match outcome:
            case Attention():
                self._hub.attend(outcome)
            case NotStalled():
                message = f"run {record.run_id} is {outcome.state}: only a stalled run is resumed"
                await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NOT_STALLED", message)
            case NotFound():
                await self._not_found(request.namespace, request.run, context)
        return workflow_pb2.ResumeRunResponse(run_id=record.run_id)

    async def _validate(self, request: workflow_pb2.StartRunRequest, context: Context) -> None:
        for name in ("workflow", "request_id", "workflow_id"):
            if not getattr(request, name):
                await _invalid(context, f"{name} must not be empty")
        if len(request.workflow_id) > WORKFLOW_ID_CHARACTERS_MAX:
            await _invalid(context, f"workflow_id has more than {WORKFLOW_ID_CHARACTERS_MAX} characters")
        await self._limit(context, "input", request.input)

    async def _limit(self, context: Context, name: str, payload: common_pb2.Payload) -> None:
        if len(payload.data) > PAYLOAD_BYTES_MAX:
            message = f"{name} takes {len(payload.data):,} bytes, over the limit of {PAYLOAD_BYTES_MAX:,}"
            await _invalid(context, message, "PAYLOAD_TOO_LARGE")

    def _start_of(self, request: workflow_pb2.StartRunRequest) -> NewRun:
        namespace = request.namespace or ids.DEFAULT_NAMESPACE
        queue = request.queue or ids.DEFAULT_QUEUE
        version = request.version or "1"
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        started = event.run_started
        started.workflow, started.version = request.workflow, version
        started.workflow_id, started.queue = request.workflow_id, queue
        started.input.CopyFrom(request.input)
        return NewRun(
            namespace=namespace,
            workflow_id=request.workflow_id,
            run_id=ids.run_id_for(
                namespace, request.workflow_id, request.request_id, self._stores.partitions
            ),
            workflow=request.workflow,
            version=version,
            queue=queue,
            input_hash=hashlib.blake2b(request.input.data, digest_size=8).hexdigest(),
            policy=POLICIES.get(request.id_policy, IdPolicy.EQUAL),
            started_event=event.SerializeToString(),
        )

    async def _existing(
        self, start: NewRun, outcome: Existing, context: Context
    ) -> workflow_pb2.StartRunResponse:
        same = start.policy is IdPolicy.EQUAL and outcome.equal
        if not same and start.policy is not IdPolicy.RETURN_EXISTING:
            message = (
                f"workflow id {start.workflow_id!r} is taken by run {outcome.run_id} ({outcome.state}): "
                "choose another id, or an id policy that says what to do"
            )
            await refuse(context, grpc.StatusCode.ALREADY_EXISTS, "WORKFLOW_ID_TAKEN", message)
        return workflow_pb2.StartRunResponse(run_id=outcome.run_id, started=False)

    async def _require_room(self, context: Context) -> None:
        """A store that is unsafe or nearly full takes nothing new; what it has goes on."""
        health = self._stores.health
        if health.unsafe:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "STORE_UNSAFE", " ".join(health.unsafe))
        if health.is_nearly_full:
            message = "the store uses over 85 % of its maxmemory, so no run is started: give it more"
            await refuse(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL", message)

    async def _require_worker(self, start: NewRun, handler: str, context: Context) -> None:
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

    async def _find(self, namespace: str, run: workflow_pb2.RunReference, context: Context) -> RunRecord:
        record = await self._stores.runs.get(
            namespace=namespace or ids.DEFAULT_NAMESPACE, run_id=run.run_id, workflow_id=run.workflow_id
        )
        if record is None:
            await self._not_found(namespace, run, context)
        return record

    async def _not_found(self, namespace: str, run: workflow_pb2.RunReference, context: Context) -> NoReturn:
        message = f"run {run.run_id or run.workflow_id!r} not found in namespace {namespace or ids.DEFAULT_NAMESPACE!r}"
        await refuse(context, grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", message)

    async def _waiting_for(self, namespace: str, queue: str, workflow: str, version: str) -> str:
        handler = ids.workflow_handler(workflow, version)
        if await self._stores.sessions.serves(namespace=namespace, queue=queue, handler=handler):
            return ""
        return f"no worker serves {workflow} v{version} in queue {queue!r}"

    async def _view(self, record: RunRecord) -> workflow_pb2.Run:
        run = _brief(record)
        if record.closing_event:
            event = history_pb2.Event.FromString(record.closing_event)
            if event.HasField("run_completed"):
                run.output.CopyFrom(event.run_completed.output)
            else:
                run.failure.CopyFrom(event.run_failed.failure)
            return run
        if record.state is RunState.STALLED:
            run.failure.CopyFrom(common_pb2.Failure.FromString(record.failure))
        elif record.state is RunState.RUNNING and not record.holder:
            run.waiting_for = await self._waiting_for(
                record.namespace, record.queue, record.workflow, record.version
            )
        run.worker = self._worker_name(record.holder)
        for task in await self._stores.tasks.list(run_id=record.run_id):
            view = run.tasks.add(
                address=task.address,
                task=task.handler.removeprefix("t:"),
                state=TASK_STATES[task.state],
                attempt=task.attempts_made + 1,
                worker=task.worker if task.state is TaskState.LEASED else "",
            )
            view.since.FromMilliseconds(task.since_ms)
            if task.failure:
                view.last_failure.CopyFrom(common_pb2.Failure.FromString(task.failure))
        return run

    def _worker_name(self, incarnation: str) -> str:
        session = self._hub.sessions.get(incarnation)
        return incarnation if session is None else session.hello.identity


FOLLOW_SECONDS = 0.5


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _brief(record: RunRecord) -> workflow_pb2.Run:
    run = workflow_pb2.Run(
        namespace=record.namespace,
        run_id=record.run_id,
        workflow_id=record.workflow_id,
        workflow=record.workflow,
        version=record.version,
        queue=record.queue,
        state=STATES[record.state],
        history_length=record.length,
    )
    run.start_time.FromMilliseconds(record.start_ms)
    if record.close_ms:
        run.close_time.FromMilliseconds(record.close_ms)
    return run
