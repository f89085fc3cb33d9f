"""Stopping and holding runs, and changing what they wait for."""

from __future__ import annotations

import grpc

from aiki.v1 import history_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.runs import (
    Attention,
    Delivered,
    NotFound,
    NotStalled,
    Paused,
    RunClosed,
    RunState,
    Terminated,
    TimerKind,
    WrongState,
)
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, closed, find, invalid, limit_name, newest, not_found
from aiki_server.rpc.status import refuse
from aiki_server.rpc.terminations import tell_termination
from aiki_server.rpc.views import read_view


class Controls:
    """Each returns the run it was done to."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def cancel(self, request: workflow_pb2.CancelRunRequest, context: Context) -> str:
        """Ask a run to stop; one that has not begun begins now, and stops."""
        await limit_name(context, "request_id", request.request_id)
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.cancel_requested.reason = request.reason
        run_id = await self._deliver(request, event, "cancellation", context)
        record = await self._stores.runs.get(
            namespace=request.namespace or ids.DEFAULT_NAMESPACE, run_id=run_id
        )
        if record is not None and record.state is RunState.SCHEDULED:
            await self._move(run_id, TimerKind.WAKE, "", self._stores.clock.now_ms())
        return run_id

    async def cancel_task(self, request: workflow_pb2.CancelTaskRequest, context: Context) -> str:
        """Tell a run that an operator cancelled one of its tasks."""
        await limit_name(context, "request_id", request.request_id)
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        view = await read_view(self._stores, record.run_id)
        if request.address not in {task.address for task in view.open_tasks()}:
            message = f"run {record.run_id} has no open task {request.address!r}"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message)
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        asked = event.task_cancel_requested
        asked.address, asked.reason = request.address, request.reason
        return await self._deliver(request, event, "cancellation", context)

    async def terminate(self, request: workflow_pb2.TerminateRunRequest, context: Context) -> str:
        """End a run at once."""
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.run_terminated.reason = request.reason
        event.run_terminated.SetInParent()
        outcome = await self._stores.control.terminate(record, event.SerializeToString())
        match outcome:
            case Terminated():
                self._hub.terminated(record.run_id, outcome)
                tell_termination(self._hub, record, request.reason)
            case WrongState():
                await closed(context, record.run_id, outcome.state, "termination")
            case NotFound():
                await not_found(request.namespace, request.run, context)
        return record.run_id

    async def pause(self, request: workflow_pb2.PauseRunRequest, context: Context) -> str:
        """Hold a run."""
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.run_paused.reason = request.reason
        event.run_paused.SetInParent()
        outcome = await self._stores.control.pause(
            run_id=record.run_id, event=event.SerializeToString(), freeze=request.freeze_timers
        )
        match outcome:
            case Paused():
                self._hub.recall(outcome.attention)
            case WrongState():
                message = f"run {record.run_id} is {outcome.state}: only a run that goes on can be paused"
                reason = "RUN_CLOSED" if outcome.state.is_closed else "NOT_RUNNING"
                await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, reason, message)
            case NotFound():
                await not_found(request.namespace, request.run, context)
        return record.run_id

    async def resume(self, request: workflow_pb2.ResumeRunRequest, context: Context) -> str:
        """Wake a stalled run, or let a held one go on."""
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        how, since_ms = await self._stores.control.paused_since(run_id=record.run_id)
        outcome: Attention | WrongState | NotStalled | NotFound
        if how:
            now_ms = self._stores.clock.now_ms()
            event = history_pb2.Event(time_ms=now_ms)
            event.run_resumed.frozen_ms = max(now_ms - since_ms, 1) if how == "freeze" else 0
            event.run_resumed.SetInParent()
            outcome = await self._stores.control.unpause(
                run_id=record.run_id, since_ms=since_ms, event=event.SerializeToString()
            )
        else:
            outcome = await self._stores.runs.unstall(run_id=record.run_id)
        match outcome:
            case Attention():
                self._hub.attend(outcome)
            case NotStalled() | WrongState():
                message = f"run {record.run_id} is {outcome.state}: only a stalled or a paused run is resumed"
                await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NOT_STALLED", message)
            case NotFound():
                await not_found(request.namespace, request.run, context)
        return record.run_id

    async def move_timer(
        self, request: workflow_pb2.MoveTimerRequest, context: Context
    ) -> workflow_pb2.MoveTimerResponse:
        """Change when a timer fires."""
        record = await newest(self._stores, await find(self._stores, request.namespace, request.run, context))
        if record.state.is_closed:
            await closed(context, record.run_id, record.state, "timers")
        now_ms = self._stores.clock.now_ms()
        due_ms = request.due.ToMilliseconds() if request.HasField("due") else now_ms
        if due_ms < 0:
            await invalid(context, "due must not be before 1970")
        if record.state is RunState.SCHEDULED and not request.address:
            await self._move(record.run_id, TimerKind.WAKE, "", due_ms)
            return workflow_pb2.MoveTimerResponse(run_id=record.run_id)
        run = workflow_pb2.Run()
        (await read_view(self._stores, record.run_id)).fill(run)
        addresses = [timer.address for timer in run.timers]
        address = request.address or (addresses[0] if len(addresses) == 1 else "")
        if address not in addresses:
            known = ", ".join(addresses) or "none"
            message = f"run {record.run_id} has no timer {request.address!r}; open timers: {known}"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TIMER_NOT_FOUND", message)
        if not await self._move(record.run_id, TimerKind.TIMER, address, due_ms):
            message = f"timer {address!r} of run {record.run_id} has fired"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TIMER_NOT_FOUND", message)
        return workflow_pb2.MoveTimerResponse(run_id=record.run_id, address=address)

    async def _move(self, run_id: str, kind: TimerKind, address: str, due_ms: int) -> bool:
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        event.timer_rescheduled.address, event.timer_rescheduled.due_ms = address, due_ms
        outcome = await self._stores.control.move_timer(
            run_id=run_id,
            kind=kind,
            address=address,
            due_ms=due_ms,
            event=event.SerializeToString() if address else b"",
        )
        if isinstance(outcome, NotFound):
            return False
        self._hub.timers_changed(ids.partition_of_run(run_id))
        if address:
            self._hub.attend(outcome)
        return True

    async def _deliver(
        self,
        request: workflow_pb2.CancelRunRequest | workflow_pb2.CancelTaskRequest,
        event: history_pb2.Event,
        what: str,
        context: Context,
    ) -> str:
        outcome = await self._stores.runs.deliver(
            namespace=request.namespace or ids.DEFAULT_NAMESPACE,
            event=event.SerializeToString(),
            dedupe_id=request.request_id,
            run_id=request.run.run_id,
            workflow_id=request.run.workflow_id,
            anyway=True,
        )
        match outcome:
            case Delivered():
                self._hub.attend(outcome.attention)
            case RunClosed():
                await closed(context, outcome.run_id, outcome.state, what)
            case NotFound():
                await not_found(request.namespace, request.run, context)
        return outcome.run_id
