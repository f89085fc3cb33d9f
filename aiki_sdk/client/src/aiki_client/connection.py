"""The way to a coordinator: any of them at first, the next one tried when one does not answer.

Invariant: a request is sent again only when nobody answered or the answer was "not now", and every
request that goes through `call` may be repeated. Everything else is told at once.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast

import grpc
import grpc.aio
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from aiki.v1 import workflow_pb2, workflow_pb2_grpc
from aiki_client import poller
from aiki_client.channels import Tls, open_channel
from aiki_client.coordinators import Coordinators
from aiki_client.errors import CoordinatorUnavailableError, error_info, from_rpc

Request = TypeVar("Request")
Response = TypeVar("Response")
T = TypeVar("T")

CONNECT_PATIENCE: Final = timedelta(seconds=3)
RETRY_PATIENCE: Final = timedelta(seconds=30)
ANSWER_TIMEOUT: Final = timedelta(seconds=10)
PAUSE_SECONDS_MAX: Final = 1.0
NOT_NOW: Final = frozenset({"DRAINING", "STORE_UNAVAILABLE"})
NOBODY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
OPTIONS: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 16 * 1024 * 1024),
    ("grpc.max_send_message_length", 16 * 1024 * 1024),
)
# The standard health service, asked without generated code: any answer shows that somebody is there.
HEALTH: Final = "/grpc.health.v1.Health/Check"
# What gRPC puts before and after the words that help.
NOISE: Final = re.compile(r"^.*last error: \w+: |^.*Failed to connect to remote host: |\s*\(\d+\)$")
# What gRPC says at length of hosts that are no coordinators.
MEANINGS: Final = {
    "lookup failed": "no host of this name is known",
    "Failed parsing HTTP/2": "what listens there is no coordinator",
    "receiving SETTINGS frame": "what listens there does not answer",
}


class NotNowError(Exception):
    """A request that may be sent again. Never leaves this module."""

    def __init__(self, error: grpc.aio.AioRpcError | None = None) -> None:
        self.error = error
        super().__init__()


@dataclass(slots=True, kw_only=True)
class Endpoint:
    """One address and its channel."""

    address: str
    channel: grpc.aio.Channel
    stub: "workflow_pb2_grpc.WorkflowServiceAsyncStub"


class Connection:
    """Channels to the coordinators of one cluster; opened and closed by `async with`."""

    def __init__(self, addresses: Sequence[str], tls: Tls | None = None) -> None:
        self._tls = tls
        self._coordinators = Coordinators(addresses)
        self._endpoints: dict[str, Endpoint] | None = None
        self._current: Endpoint | None = None

    async def __aenter__(self) -> Self:
        poller.be_quiet()
        self._endpoints = {}
        try:
            await self._persist(self._ask_health, CONNECT_PATIENCE)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def call(
        self,
        rpc: "Callable[[workflow_pb2_grpc.WorkflowServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
        *,
        timeout: timedelta = ANSWER_TIMEOUT,
    ) -> Response:
        """Send a request that may be repeated, until somebody answers it.

        Raises:
            CoordinatorUnavailableError: nobody did, for `RETRY_PATIENCE`.
            AikiError: the answer was a refusal.
        """

        async def attempt(endpoint: Endpoint) -> Response:
            return await rpc(endpoint.stub)(request, timeout=timeout.total_seconds())

        return await self._persist(attempt, RETRY_PATIENCE)

    async def call_once(
        self,
        rpc: "Callable[[workflow_pb2_grpc.WorkflowServiceAsyncStub], grpc.aio.UnaryUnaryMultiCallable[Request, Response]]",
        request: Request,
    ) -> Response:
        """Send a request that must not be repeated."""

        async def attempt(endpoint: Endpoint) -> Response:
            return await rpc(endpoint.stub)(request, timeout=ANSWER_TIMEOUT.total_seconds())

        return await self._persist(attempt, timedelta())

    async def ask(self, attempt: Callable[[Endpoint], Awaitable[T]]) -> T:
        """What *attempt*, which may be repeated, gets from one coordinator or another."""
        return await self._persist(attempt, RETRY_PATIENCE)

    async def history(
        self, request: workflow_pb2.GetHistoryRequest
    ) -> AsyncGenerator[workflow_pb2.GetHistoryResponse, None]:
        """The pages of a history; goes on where it was when the stream breaks."""
        wanted = workflow_pb2.GetHistoryRequest()
        wanted.CopyFrom(request)

        def pass_page(page: workflow_pb2.GetHistoryResponse) -> None:
            wanted.first_index = page.first_index + len(page.events)

        pages = self._resuming(lambda endpoint: endpoint.stub.GetHistory(wanted), pass_page)
        async with aclosing(pages):
            async for page in pages:
                yield page

    async def logs(
        self, request: workflow_pb2.GetLogsRequest
    ) -> AsyncGenerator[workflow_pb2.GetLogsResponse, None]:
        """The pages of what was logged; goes on where it was when the stream breaks."""
        wanted = workflow_pb2.GetLogsRequest()
        wanted.CopyFrom(request)

        def pass_page(page: workflow_pb2.GetLogsResponse) -> None:
            if page.lines:
                wanted.after_us = page.lines[-1].time_us

        pages = self._resuming(lambda endpoint: endpoint.stub.GetLogs(wanted), pass_page)
        async with aclosing(pages):
            async for page in pages:
                yield page

    async def watch(
        self, request: workflow_pb2.WatchRunRequest
    ) -> AsyncGenerator[workflow_pb2.WatchRunResponse, None]:
        """A run each time it has changed; goes on where it was when the stream breaks."""
        wanted = workflow_pb2.WatchRunRequest()
        wanted.CopyFrom(request)

        def pass_view(view: workflow_pb2.WatchRunResponse) -> None:
            wanted.token = view.token

        views = self._resuming(lambda endpoint: endpoint.stub.WatchRun(wanted), pass_view)
        async with aclosing(views):
            async for view in views:
                yield view

    async def _resuming(
        self,
        call: "Callable[[Endpoint], grpc.aio.UnaryStreamCall[Any, Response]]",
        passed: Callable[[Response], None],
    ) -> AsyncGenerator[Response, None]:
        """What a stream says; *passed* is told each message before the next call is made."""
        while True:
            stream, message = await self._persist(lambda endpoint: _open(call(endpoint)), RETRY_PATIENCE)
            try:
                while message is not None:
                    passed(message)
                    yield message
                    try:
                        message = await _next(stream)
                    except grpc.aio.AioRpcError as error:
                        if not _is_transient(error):
                            raise from_rpc(error) from error
                        break
                else:
                    return
            finally:
                stream.cancel()

    async def _persist(self, attempt: Callable[[Endpoint], Awaitable[T]], patience: timedelta) -> T:
        """Try one endpoint after another until one answers or *patience* is over."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(NotNowError),
            wait=wait_random_exponential(multiplier=0.05, max=PAUSE_SECONDS_MAX),
            stop=stop_after_delay(patience.total_seconds()),
            reraise=True,
        )
        try:
            return await retrying(self._try_current, attempt)
        except NotNowError as not_now:
            if not_now.error is not None and error_info(not_now.error) is not None:
                raise from_rpc(not_now.error) from not_now.error
            raise CoordinatorUnavailableError(self._coordinators.reasons) from not_now.error

    async def _try_current(self, attempt: Callable[[Endpoint], Awaitable[T]]) -> T:
        endpoint = self._current = self._current or await self._next()
        try:
            return await attempt(endpoint)
        except grpc.aio.AioRpcError as error:
            if not _is_transient(error):
                raise from_rpc(error) from error
            self._coordinators.failed(endpoint.address, reason_of(error))
            if self._current is endpoint:
                self._current = None
            raise NotNowError(error) from error

    async def _next(self) -> Endpoint:
        endpoints = self._endpoints
        if endpoints is None:
            raise RuntimeError("the client is not connected: use it inside 'async with Client.connect(…)'")
        address = await self._coordinators.following()
        if address is None:
            raise NotNowError
        if address not in endpoints:
            channel = open_channel(address, self._coordinators.tls_for(address, self._tls), OPTIONS)
            stub = workflow_pb2_grpc.WorkflowServiceStub(channel)
            endpoints[address] = Endpoint(address=address, channel=channel, stub=stub)
        return endpoints[address]

    @staticmethod
    async def _ask_health(endpoint: Endpoint) -> None:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = endpoint.channel.unary_unary(HEALTH)
        try:
            await ask(b"", timeout=CONNECT_PATIENCE.total_seconds())
        except grpc.aio.AioRpcError as error:
            # A coordinator that drains or has no health service is there all the same.
            if error.code() in NOBODY:
                raise

    async def _close(self) -> None:
        endpoints, self._endpoints = self._endpoints or {}, None
        self._current = None
        await asyncio.gather(*(endpoint.channel.close() for endpoint in endpoints.values()))


def _is_transient(error: grpc.aio.AioRpcError) -> bool:
    info = error_info(error)
    return error.code() in NOBODY if info is None else info.reason in NOT_NOW


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Why nobody answered, in words that help."""
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer in time"
    told = error.details() or error.code().name
    for sign, meaning in MEANINGS.items():
        if sign in told:
            return meaning
    shorter = NOISE.sub("", told)
    while shorter != told:
        told, shorter = shorter, NOISE.sub("", shorter)
    return told


async def _open(
    stream: "grpc.aio.UnaryStreamCall[Any, Response]",
) -> "tuple[grpc.aio.UnaryStreamCall[Any, Response], Response | None]":
    try:
        return stream, await _next(stream)
    except BaseException:
        stream.cancel()
        raise


async def _next(stream: "grpc.aio.UnaryStreamCall[Any, Response]") -> Response | None:
    message = await stream.read()
    return None if message is grpc.aio.EOF else cast("Response", message)
