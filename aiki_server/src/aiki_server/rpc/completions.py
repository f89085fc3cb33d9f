"""Tasks that are completed from elsewhere, by the token of their attempt."""

from __future__ import annotations

from asyncio import Future

import grpc

from aiki.v1 import history_pb2, workflow_pb2
from aiki_server.core import ids
from aiki_server.core.runs import Completed, Fenced, LeaseToken
from aiki_server.rpc.hub import Hub
from aiki_server.rpc.lookups import Context, invalid, limit
from aiki_server.rpc.status import refuse
from aiki_server.rpc.tokens import lease_of
from aiki_server.store import keys


class Completions:
    """See the module."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._stores = hub.stores

    async def complete(self, request: workflow_pb2.CompleteTaskRequest, context: Context) -> str:
        """End the task; the run it belongs to. A repeat with the same token changes nothing."""
        token = await self._token(request, context)
        event = history_pb2.Event(time_ms=self._stores.clock.now_ms())
        match request.WhichOneof("outcome"):
            case "output":
                await limit(context, "output", request.output)
                event.task_completed.address = token.address
                event.task_completed.output.CopyFrom(request.output)
            case "failure":
                event.task_failed.address = token.address
                event.task_failed.failure.CopyFrom(request.failure)
            case _:
                await invalid(context, "give an output or a failure")
        spec = await self._stores.tasks.spec(run_id=token.run_id, address=token.address)
        attempt = 1 if spec is None else spec[1]
        if event.HasField("task_completed"):
            event.task_completed.attempt = attempt
        else:
            event.task_failed.failure.attempts = attempt
        done: Future[Completed | Fenced] = self._stores.tasks.complete(
            token=token, incarnation="", event=event.SerializeToString()
        )
        match await done:
            case Completed() as completed:
                self._hub.attend(completed.attention)
            case Fenced():
                message = (
                    f"attempt of task {token.address!r} of run {token.run_id} is over: it was completed, tried "
                    "again, timed out or cancelled"
                )
                await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message)
        return token.run_id

    async def _token(self, request: workflow_pb2.CompleteTaskRequest, context: Context) -> LeaseToken:
        try:
            token = lease_of(request.token)
        except ValueError:
            await invalid(context, "token is not one of a task attempt")
        if not keys.is_run_id(token.run_id, self._stores.partitions):
            await invalid(context, "token is not one of this cluster")
        namespace = request.namespace or ids.DEFAULT_NAMESPACE
        if await self._stores.runs.get(namespace=namespace, run_id=token.run_id) is None:
            message = f"the run of this token is not in namespace {namespace!r}"
            await refuse(context, grpc.StatusCode.NOT_FOUND, "TASK_NOT_FOUND", message)
        return token
