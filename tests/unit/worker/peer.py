"""A coordinator that does what a test says, frame by frame, over a real connection."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Any, Self

import grpc.aio
from google.protobuf import duration_pb2

from aiki.v1 import common_pb2, history_pb2, worker_pb2, worker_pb2_grpc

SECONDS_MAX = 5.0

Frame = worker_pb2.SessionRequest
Call = grpc.aio.ServicerContext[worker_pb2.SessionRequest, worker_pb2.SessionResponse]


class Stream:
    """One stream of a worker. What is not waited for (renewals, credits) is passed over."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.credit = worker_pb2.Credit()
        self._heard: asyncio.Queue[worker_pb2.WorkerMessage] = asyncio.Queue()
        self._all: list[worker_pb2.WorkerMessage] = []
        self._agreeable = False
        self.to_say: asyncio.Queue[worker_pb2.SessionResponse | None] = asyncio.Queue()

    def hear(self, message: worker_pb2.WorkerMessage) -> None:
        """Take a message."""
        if message.HasField("credit"):
            self.credit = message.credit
        self._all.append(message)
        self._heard.put_nowait(message)
        if self._agreeable:
            self._agree(message)

    def agree(self) -> None:
        """Answer whatever was and will be said, so that the worker can end."""
        self._agreeable = True
        for message in self._all:
            self._agree(message)

    def say(self, **kinds: Any) -> None:
        """Send one message of each kind given, in one frame."""
        messages = [worker_pb2.CoordinatorMessage(**{kind: value}) for kind, value in kinds.items()]
        self.to_say.put_nowait(worker_pb2.SessionResponse(messages=messages))

    def _agree(self, message: worker_pb2.WorkerMessage) -> None:
        if message.HasField("commit"):
            self.say(commit_result=answer(message.commit, length=100))
        elif message.HasField("release"):
            self.say(release_result=worker_pb2.ReleaseResult(lease=message.release.lease))
        elif message.HasField("task_report"):
            self.say(task_report_result=worker_pb2.TaskReportResult(lease=message.task_report.lease))
        elif message.HasField("need_history"):
            need = message.need_history
            self.say(history_page=worker_pb2.HistoryPage(lease=need.lease, first_index=need.first_index))

    def end(self) -> None:
        """End the stream."""
        self.to_say.put_nowait(None)

    async def next(self, kind: str) -> Any:
        """The next message of *kind*; others before it are passed over."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                message = await self._heard.get()
                if message.WhichOneof("kind") == kind:
                    return getattr(message, kind)


class Peer(worker_pb2_grpc.WorkerServiceServicer):
    """Accepts sessions; `stream` gives them one after the other, after their Welcome."""

    def __init__(self, ttl_s: float = 10.0) -> None:
        self.address = ""
        self.hellos: list[worker_pb2.Hello] = []
        self.lost: list[common_pb2.Lease] = []
        self.refusal: tuple[grpc.StatusCode, str] | None = None
        self._ttl_s = ttl_s
        self._streams: asyncio.Queue[Stream] = asyncio.Queue()
        self._server = grpc.aio.server()
        self._current: list[Stream] = []

    async def __aenter__(self) -> Self:
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self.address = f"127.0.0.1:{port}"
        await self._server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop(grace=None)

    def agree(self) -> None:
        """Answer whatever was and will be said, so that the worker can end."""
        for stream in self._current:
            stream.agree()

    async def stream(self) -> Stream:
        """The next stream."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self._streams.get()

    async def Session(  # type: ignore[override]  # noqa: N802  the name of the rpc
        self, request_iterator: AsyncIterator[Frame], context: Call
    ) -> None:
        """One stream, from Hello to its end."""
        first = await anext(aiter(request_iterator))
        hello = first.messages[0].hello
        self.hellos.append(hello)
        if self.refusal is not None:
            await context.abort(*self.refusal)
        stream = Stream(f"coordinator.{hello.session_id}.{len(self.hellos)}")
        welcome = worker_pb2.Welcome(
            revision=1,
            incarnation=stream.incarnation,
            lease_ttl=_seconds(self._ttl_s),
            lost=self.lost,
            store_time_ms=1_700_000_000_000,
        )
        stream.say(welcome=welcome)
        self._streams.put_nowait(stream)
        self._current.append(stream)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_read(request_iterator, stream))
            while (frame := await stream.to_say.get()) is not None:
                await context.write(frame)
            reading.cancel()


async def _read(frames: AsyncIterator[Frame], stream: Stream) -> None:
    async for frame in frames:
        for message in frame.messages:
            if message.HasField("renew"):
                stream.say(renewed=worker_pb2.Renewed(store_time_ms=1_700_000_000_000))
            stream.hear(message)
    stream.end()


def lease(run_id: str = "0-run", address: str = "", epoch: int = 1, nonce: str = "n1") -> common_pb2.Lease:
    """A lease."""
    return common_pb2.Lease(run_id=run_id, address=address, epoch=epoch, nonce=nonce)


def started(workflow: str, arguments: str = '{"args":[],"kwargs":{}}') -> history_pb2.Event:
    """The first event of a run."""
    return history_pb2.Event(
        time_ms=1_700_000_000_000,
        run_started=history_pb2.RunStarted(
            workflow=workflow,
            version="1",
            input=common_pb2.Payload(data=arguments.encode(), encoding="json"),
            workflow_id="w-1",
            queue="default",
        ),
    )


def grant(
    workflow: str,
    history: Sequence[history_pb2.Event],
    *,
    of: common_pb2.Lease | None = None,
    first_index: int = 0,
    length: int | None = None,
) -> worker_pb2.RunGrant:
    """A grant of a run."""
    return worker_pb2.RunGrant(
        lease=of or lease(),
        workflow_id="w-1",
        workflow=workflow,
        version="1",
        queue="default",
        length=first_index + len(history) if length is None else length,
        first_index=first_index,
        events=history,
    )


def kinds(commit: worker_pb2.Commit) -> list[str | None]:
    """What a commit holds."""
    return [event.WhichOneof("kind") for event in commit.events]


def answer(commit: worker_pb2.Commit, **fields: Any) -> worker_pb2.CommitResult:
    """The answer to *commit*."""
    return worker_pb2.CommitResult(lease=commit.lease, number=commit.number, **fields)


def _seconds(value: float) -> duration_pb2.Duration:
    return duration_pb2.Duration(seconds=int(value), nanos=int(value % 1 * 1e9))
