"""Stands between a worker and its coordinator, counts what becomes durable, and can end the worker at any of it.

The moments it counts are those at which something of a run is recorded: a grant (which drains the mailbox), a
commit, a remote task that is taken or ends. At a moment, the history has just got there and the worker has not heard
of it; or, on the way in, the worker has done its work and nothing of it is recorded.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Literal, Self

import grpc

from aiki.v1 import worker_pb2, worker_pb2_grpc

Side = Literal["recorded", "lost"]
"""Whether what the worker sent at the moment of its end is recorded."""


class Tollgate(worker_pb2_grpc.WorkerServiceServicer):
    """Ends the worker at moment *number*; 0: never. `end` is called once, in the event loop."""

    def __init__(self, coordinator: str, number: int, side: Side, end: Callable[[], None]) -> None:
        self.passed = 0
        self.closed = asyncio.Event()
        self._coordinator = coordinator
        self._number = number
        self._side = side
        self._end = end

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._coordinator)
        self._stub = worker_pb2_grpc.WorkerServiceStub(self._channel)
        self._server = grpc.aio.server()
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(None)
        await self._channel.close()

    async def Session(  # noqa: N802  gRPC's name
        self,
        request_iterator: AsyncIterator[worker_pb2.SessionRequest],
        context: grpc.aio.ServicerContext[worker_pb2.SessionRequest, worker_pb2.SessionResponse],
    ) -> AsyncIterator[worker_pb2.SessionResponse]:
        """One stream of the worker's, until the worker ends."""
        if self.closed.is_set():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "its worker is dead")
        call = self._stub.Session(self._inward(request_iterator))
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for response in call:
                moments = sum(map(_is_recorded, response.messages))
                if self._comes("recorded", moments):
                    break
                yield response
        call.cancel()

    async def _inward(
        self, requests: AsyncIterator[worker_pb2.SessionRequest]
    ) -> AsyncIterator[worker_pb2.SessionRequest]:
        async for request in requests:
            moments = sum(map(_is_to_record, request.messages))
            if self.closed.is_set() or self._comes("lost", moments):
                return
            yield request

    def _comes(self, side: Side, moments: int) -> bool:
        if side != self._side or not moments or self.closed.is_set():
            return self.closed.is_set()
        self.passed += moments
        if 0 < self._number <= self.passed:
            self.closed.set()
            self._end()
        return self.closed.is_set()


def _is_recorded(message: worker_pb2.CoordinatorMessage) -> bool:
    match message.WhichOneof("kind"):
        case "run_grant" | "task_assignment":
            return True
        case "commit_result":
            return not message.commit_result.HasField("error")
        case "task_report_result":
            return not message.task_report_result.HasField("error")
        case _:
            return False


def _is_to_record(message: worker_pb2.WorkerMessage) -> bool:
    return message.WhichOneof("kind") in {"commit", "task_report"}
