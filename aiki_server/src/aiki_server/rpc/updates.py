"""Queries of runs, and updates: requests into a run that it answers exactly once."""

from __future__ import annotations

import time
from typing import Final

import grpc

from aiki.v1 import common_pb2, history_pb2, worker_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.runs import Delivered, NotFound, RunClosed, RunRecord, RunState
from aiki_server.core.traces import SpanRef
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, closed, find, limit, limit_name, newest, not_found, set_within
from aiki_server.rpc.questions import NobodyAnswersError
from aiki_server.rpc.starts import Starts
from aiki_server.rpc.status import refuse

WAIT_SECONDS_MAX: Final = 60.0
LOOK_AGAIN_SECONDS: Final = 3.0
CHAIN_RUNS_MAX: Final = 1000
CLOSED: Final = "RunClosed"
"""The type of failure by which a run that ends answers what it has not done."""


class Updates:
    """What is asked of a run while it lives."""

    def __init__(self, hub: Hub, starts: Starts) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._starts = starts

    async def query(
        self, request: workflow_pb2.QueryRunRequest, context: Context
    ) -> workflow_pb2.QueryRunResponse:
        """Ask a run a question, also a closed one."""
        await limit_name(context, "name", request.name)
        await limit(context, "input", request.input)
        record = await find(self._stores, request.namespace, request.run, context)
        try:
            result = await self._hub.questions.ask(record, request.input, query=request.name)
        except NobodyAnswersError as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "NO_WORKER", f"{error}: try again")
        if result.HasField("failure"):
            await _refuse_query(context, result.failure)
        return workflow_pb2.QueryRunResponse(run_id=record.run_id, output=result.output)

    async def update(
        self, request: workflow_pb2.UpdateRunRequest, context: Context
    ) -> workflow_pb2.UpdateRunResponse:
        """Have an update accepted, unless it was, and wait for its answer."""
        await limit_name(context, "name", request.name)
        await limit_name(context, "update_id", request.update_id)
        await limit(context, "input", request.input)
        wanted = request.timeout.ToMilliseconds() / 1000 if request.HasField("timeout") else WAIT_SECONDS_MAX
        give_up_at = time.monotonic() + min(wanted, WAIT_SECONDS_MAX)
        namespace = request.namespace or ids.DEFAULT_NAMESPACE
        run = request.run
        if request.HasField("start"):
            started = await self._starts.start(request.start, context)
            run = workflow_pb2.RunReference(run_id=started.run_id)
            namespace = request.start.namespace or ids.DEFAULT_NAMESPACE
        record = await newest(self._stores, await find(self._stores, namespace, run, context))
        answer = await self._stores.control.answer(run_id=record.run_id, update_id=request.update_id)
        if not answer:
            record = await self._begun(record, give_up_at)
            if not record.state.is_closed:
                if not record.length:
                    return workflow_pb2.UpdateRunResponse(run_id=record.run_id)
                await self._validate(record, request, context)
            if await self._deliver(record, request, context):
                answer = await self._answered_before(record, request.update_id)
            answer = answer or await self._wait(record, request.update_id, give_up_at, context)
        return await _answered(record, answer, context)

    async def _answered_before(self, record: RunRecord, update_id: str) -> bytes:
        """The answer that an earlier run of the chain gave to an update that is repeated; empty: none has."""
        for _ in range(CHAIN_RUNS_MAX):
            answer = await self._stores.control.answer(run_id=record.run_id, update_id=update_id)
            if answer or not record.previous:
                return answer
            before = await self._stores.runs.get(namespace=record.namespace, run_id=record.previous)
            if before is None:
                break
            record = before
        return b""

    async def _begun(self, record: RunRecord, give_up_at: float) -> RunRecord:
        """The run, once its code has begun: before, there is nothing that could accept an update."""
        with self._hub.waiters.growing(record.run_id) as grew:
            while not record.length and not record.state.is_closed and not self._hub.draining.is_set():
                left = give_up_at - time.monotonic()
                if left <= 0:
                    break
                await set_within(grew, min(left, 0.5))
                grew.clear()
                again = await self._stores.runs.get(namespace=record.namespace, run_id=record.run_id)
                record = again or record
        return record

    async def _validate(
        self, record: RunRecord, request: workflow_pb2.UpdateRunRequest, context: Context
    ) -> None:
        """Before anything is written; the run looks again when it comes to the update."""
        if record.state is RunState.STALLED:
            message = f"run {record.run_id} is stalled: it accepts no updates until it is resumed"
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NOT_RUNNING", message)
        try:
            result = await self._hub.questions.ask(record, request.input, update=request.name)
        except NobodyAnswersError as error:
            await refuse(context, grpc.StatusCode.UNAVAILABLE, "NO_WORKER", f"{error}: try again")
        await self._refuse_rejected(result, context)

    async def _refuse_rejected(self, result: worker_pb2.QueryResult, context: Context) -> None:
        if not result.HasField("failure"):
            return
        if result.failure.kind == common_pb2.FAILURE_KIND_REJECTED:
            code, reason = grpc.StatusCode.FAILED_PRECONDITION, "UPDATE_REJECTED"
            await refuse(context, code, reason, result.failure.message)
        message = f"the update could not be validated: {result.failure.type}: {result.failure.message}"
        await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "NOT_RUNNING", message)

    async def _deliver(
        self, record: RunRecord, request: workflow_pb2.UpdateRunRequest, context: Context
    ) -> bool:
        """Put it into the mailbox; whether it was delivered before."""
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        received = event.update_received
        received.update_id, received.name = request.update_id, request.name
        received.input.CopyFrom(request.input)
        received.traceparent = str(SpanRef.parse(request.traceparent) or "")
        outcome = await self._stores.runs.deliver(
            namespace=record.namespace,
            event=event.SerializeToString(),
            dedupe_id=f"update {request.update_id}",
            run_id=record.run_id,
            answer_field=f"u:{request.update_id}",
        )
        match outcome:
            case RunClosed():
                return await closed(context, outcome.run_id, outcome.state, "updates")
            case NotFound():
                return await not_found(record.namespace, request.run, context)
            case Delivered():
                self._hub.attend(outcome.attention)
                return outcome.repeat

    async def _wait(self, record: RunRecord, update_id: str, give_up_at: float, context: Context) -> bytes:
        """The answer; empty when the time is up or this coordinator goes. What a run leaves open, the next answers."""
        while True:
            state, answer = await self._wait_for_one(record.run_id, update_id, give_up_at)
            if answer or state is None:
                return answer
            ended = await self._stores.runs.get(namespace=record.namespace, run_id=record.run_id)
            following = ended and await self._stores.runs.get(namespace=record.namespace, run_id=ended.next)
            if following is None:
                await closed(context, record.run_id, state, "updates")
            record = following

    async def _wait_for_one(
        self, run_id: str, update_id: str, give_up_at: float
    ) -> tuple[RunState | None, bytes]:
        """The answer of one run, or how it closed without one; neither when the time is up."""
        with self._hub.waiters.ending(run_id) as changed:
            while True:
                changed.clear()
                state = await self._stores.runs.watch(run_id=run_id, coordinator_id=self._hub.coordinator_id)
                answer = await self._stores.control.answer(run_id=run_id, update_id=update_id)
                if answer:
                    return None, answer
                if not isinstance(state, NotFound) and state.is_closed:
                    return state, b""
                left = give_up_at - time.monotonic()
                if left <= 0 or isinstance(state, NotFound) or self._hub.draining.is_set():
                    return None, b""
                await set_within(changed, min(left, LOOK_AGAIN_SECONDS))


async def _refuse_query(context: Context, failure: common_pb2.Failure) -> None:
    if failure.kind == common_pb2.FAILURE_KIND_REJECTED:
        await refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "QUERY_REJECTED", failure.message)
    message = f"{failure.type}: {failure.message}"
    await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "QUERY_FAILED", message)


async def _answered(record: RunRecord, answer: bytes, context: Context) -> workflow_pb2.UpdateRunResponse:
    response = workflow_pb2.UpdateRunResponse(run_id=record.run_id, completed=bool(answer))
    if answer:
        done = history_pb2.UpdateCompleted.FromString(answer)
        if done.failure.type == CLOSED and done.failure.kind == common_pb2.FAILURE_KIND_CANCELLED:
            message = f"run {record.run_id} took the update, and ended before it had answered it"
            await refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "RUN_CLOSED", message)
        if done.HasField("failure"):
            response.failure.CopyFrom(done.failure)
        else:
            response.output.CopyFrom(done.output)
    return response
