"""The service of clients: what each rpc says is in its docstring in proto/aiki/v1/workflow.proto."""

# ruff: noqa: N802  methods have the names of their rpcs

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import grpc

from aiki.v1 import history_pb2, workflow_pb2, workflow_pb2_grpc
from aiki_server.core import ids
from aiki_server.core.runs import NotFound, RunRecord, RunState
from aiki_server.rpc.completions import Completions
from aiki_server.rpc.controls import Controls
from aiki_server.rpc.effects import CLOSING
from aiki_server.rpc.explanations import Explanations
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import STATES, Context, find, invalid, newest, set_within
from aiki_server.rpc.resets import Resets
from aiki_server.rpc.run_logs import RunLogs
from aiki_server.rpc.starts import Starts
from aiki_server.rpc.status import answering, refuse, refuse_store
from aiki_server.rpc.updates import Updates
from aiki_server.rpc.views import Views, brief
from aiki_server.store.errors import StoreError

WAIT_SECONDS_MAX = 60.0
LOOK_AGAIN_SECONDS = 3.0
FOLLOW_SECONDS = 0.5
"""How long a change may go unseen that nobody tells of: other coordinators do, unless their message is lost."""
HISTORY_PAGE = 500


class WorkflowService(workflow_pb2_grpc.WorkflowServiceServicer):
    """Start runs, wait for them, look at them, change their course."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._views = Views(hub)
        self._starts = Starts(hub, self._views)
        self._controls = Controls(hub)
        self._updates = Updates(hub, self._starts)
        self._resets = Resets(hub)
        self._completions = Completions(hub)
        self._logs = RunLogs(hub)
        self._explanations = Explanations(hub)

    @answering
    async def StartRun(
        self, request: workflow_pb2.StartRunRequest, context: Context
    ) -> workflow_pb2.StartRunResponse:
        """Start a run."""
        return await self._starts.start(request, context)

    @answering
    async def GetRun(
        self, request: workflow_pb2.GetRunRequest, context: Context
    ) -> workflow_pb2.GetRunResponse:
        """One run, as it stands."""
        record = await find(self._stores, request.namespace, request.run, context)
        return workflow_pb2.GetRunResponse(run=await self._views.whole(record))

    @answering
    async def WaitRun(
        self, request: workflow_pb2.WaitRunRequest, context: Context
    ) -> workflow_pb2.WaitRunResponse:
        """One run, when its chain is closed or stalled, or when the time is up."""
        record = await find(self._stores, request.namespace, request.run, context)
        wanted = request.timeout.ToMilliseconds() / 1000
        seconds = min(wanted, WAIT_SECONDS_MAX) if request.HasField("timeout") else WAIT_SECONDS_MAX
        give_up_at = time.monotonic() + seconds
        while True:
            await self._wait(record.run_id, give_up_at)
            reference = workflow_pb2.RunReference(run_id=record.run_id)
            record = await find(self._stores, request.namespace, reference, context)
            if not record.next:
                return workflow_pb2.WaitRunResponse(run=await self._views.outcome(record))
            record = await newest(self._stores, record)

    async def _wait(self, run_id: str, give_up_at: float) -> None:
        """Until the run is closed or stalled, the time is up, or this coordinator goes."""
        with self._hub.waiters.ending(run_id) as ended:
            while not self._hub.draining.is_set():
                ended.clear()
                state = await self._stores.runs.watch(run_id=run_id, coordinator_id=self._hub.coordinator_id)
                left = give_up_at - time.monotonic()
                if isinstance(state, NotFound) or state.is_closed or state is RunState.STALLED or left <= 0:
                    return
                await set_within(ended, min(left, LOOK_AGAIN_SECONDS))

    @answering
    async def ListRuns(
        self, request: workflow_pb2.ListRunsRequest, context: Context
    ) -> workflow_pb2.ListRunsResponse:
        """Runs, newest first."""
        if not 0 <= request.page_size <= 1000:
            await invalid(context, "page_size must be 0 to 1000")
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
            await invalid(context, "page_token is none that this cluster made")
        return workflow_pb2.ListRunsResponse(
            runs=[brief(record) for record in records], next_page_token=token
        )

    async def GetHistory(
        self, request: workflow_pb2.GetHistoryRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetHistoryResponse]:
        """A run's history, in pages."""
        record = await find(self._stores, request.namespace, request.run, context)
        try:
            async for page in self._pages(record.run_id, request, context):
                yield page
        except StoreError as error:
            await refuse_store(context, error)

    async def GetLogs(
        self, request: workflow_pb2.GetLogsRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetLogsResponse]:
        """What code logged in a run, in pages."""
        async for page in self._logs.pages(request, context):
            yield page

    async def _pages(
        self, run_id: str, request: workflow_pb2.GetHistoryRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.GetHistoryResponse]:
        first = request.first_index
        with self._hub.waiters.growing(run_id) as grew:
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
                else:
                    await self._refuse_when_draining(context)
                    await self._hub.followers.ask(run_id)
                    await set_within(grew, FOLLOW_SECONDS)

    @answering
    async def ResetRun(
        self, request: workflow_pb2.ResetRunRequest, context: Context
    ) -> workflow_pb2.ResetRunResponse:
        """A run that goes on from an event of another."""
        return workflow_pb2.ResetRunResponse(run_id=await self._resets.reset(request, context))

    @answering
    async def CompleteTask(
        self, request: workflow_pb2.CompleteTaskRequest, context: Context
    ) -> workflow_pb2.CompleteTaskResponse:
        """End a task by the token of its attempt."""
        return workflow_pb2.CompleteTaskResponse(run_id=await self._completions.complete(request, context))

    @answering
    async def ExplainRun(
        self, request: workflow_pb2.ExplainRunRequest, context: Context
    ) -> workflow_pb2.ExplainRunResponse:
        """Why a run, or each of its open tasks, does not go on."""
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        return await self._explanations.explain(record)

    async def WatchRun(
        self, request: workflow_pb2.WatchRunRequest, context: Context
    ) -> AsyncIterator[workflow_pb2.WatchRunResponse]:
        """A run, again each time it has changed; ends when its chain is closed."""
        record = await find(self._stores, request.namespace, request.run, context)
        told = request.token
        try:
            while True:
                record = await newest(self._stores, record)
                with self._hub.waiters.growing(record.run_id) as grew:
                    token = _token(record)
                    if token != told:
                        told = token
                        yield workflow_pb2.WatchRunResponse(run=await self._views.whole(record), token=token)
                    if record.state.is_closed:
                        return
                    await self._refuse_when_draining(context)
                    await self._hub.followers.ask(record.run_id)
                    await set_within(grew, FOLLOW_SECONDS)
                reference = workflow_pb2.RunReference(run_id=record.run_id)
                record = await find(self._stores, request.namespace, reference, context)
        except StoreError as error:
            await refuse_store(context, error)

    @answering
    async def SignalRun(
        self, request: workflow_pb2.SignalRunRequest, context: Context
    ) -> workflow_pb2.SignalRunResponse:
        """Put a message into a run's mailbox."""
        signal = history_pb2.SignalReceived(
            name=request.name, value=request.value, traceparent=request.traceparent
        )
        run_id = await self._starts.signal(
            request.namespace, request.run, request.request_id, signal, context
        )
        return workflow_pb2.SignalRunResponse(run_id=run_id)

    @answering
    async def ResumeRun(
        self, request: workflow_pb2.ResumeRunRequest, context: Context
    ) -> workflow_pb2.ResumeRunResponse:
        """Wake a stalled run, or let a held one go on."""
        return workflow_pb2.ResumeRunResponse(run_id=await self._controls.resume(request, context))

    @answering
    async def CancelRun(
        self, request: workflow_pb2.CancelRunRequest, context: Context
    ) -> workflow_pb2.CancelRunResponse:
        """Ask a run to stop."""
        return workflow_pb2.CancelRunResponse(run_id=await self._controls.cancel(request, context))

    @answering
    async def TerminateRun(
        self, request: workflow_pb2.TerminateRunRequest, context: Context
    ) -> workflow_pb2.TerminateRunResponse:
        """End a run at once."""
        return workflow_pb2.TerminateRunResponse(run_id=await self._controls.terminate(request, context))

    @answering
    async def PauseRun(
        self, request: workflow_pb2.PauseRunRequest, context: Context
    ) -> workflow_pb2.PauseRunResponse:
        """Hold a run."""
        return workflow_pb2.PauseRunResponse(run_id=await self._controls.pause(request, context))

    @answering
    async def CancelTask(
        self, request: workflow_pb2.CancelTaskRequest, context: Context
    ) -> workflow_pb2.CancelTaskResponse:
        """Cancel one task of a run."""
        return workflow_pb2.CancelTaskResponse(run_id=await self._controls.cancel_task(request, context))

    @answering
    async def MoveTimer(
        self, request: workflow_pb2.MoveTimerRequest, context: Context
    ) -> workflow_pb2.MoveTimerResponse:
        """Change when a timer fires."""
        return await self._controls.move_timer(request, context)

    @answering
    async def QueryRun(
        self, request: workflow_pb2.QueryRunRequest, context: Context
    ) -> workflow_pb2.QueryRunResponse:
        """Ask a run a question."""
        return await self._updates.query(request, context)

    @answering
    async def UpdateRun(
        self, request: workflow_pb2.UpdateRunRequest, context: Context
    ) -> workflow_pb2.UpdateRunResponse:
        """Send a request into a run."""
        return await self._updates.update(request, context)

    async def _refuse_when_draining(self, context: Context) -> None:
        if self._hub.draining.is_set():
            message = "this coordinator is going: ask another"
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "DRAINING", message)


def _token(record: RunRecord) -> str:
    """Differs when the run does, as far as a view shows it."""
    return f"{record.run_id}:{record.state}:{record.length}:{record.mail}:{bool(record.holder)}"
