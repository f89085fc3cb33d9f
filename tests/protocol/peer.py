"""A coordinator in this process, and a worker that says what the test says, message by message."""

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Self, cast

import grpc
from google.rpc import error_details_pb2

from aiki.v1 import common_pb2, history_pb2, worker_pb2, worker_pb2_grpc, workflow_pb2, workflow_pb2_grpc
from aiki_server.coordinator import serving
from aiki_server.settings import ServerSettings
from aiki_server.store import Stores

LONG_TTL = 30.0
WAIT_SECONDS = 10.0

_numbers = itertools.count(1)


class Cluster:
    """Coordinators on one store, and channels to them."""

    def __init__(self, store: Stores, stack: AsyncExitStack, ttl_seconds: float, **settings: Any) -> None:
        self.store = store
        self._stack = stack
        options: dict[str, Any] = {"listen": "127.0.0.1:0", "lease_ttl_seconds": ttl_seconds, **settings}
        self._settings = ServerSettings(**options)

    async def coordinator(self) -> "Door":
        """Start one."""
        stack = AsyncExitStack()
        address = await stack.enter_async_context(serving(self.store, self._settings))
        self._stack.push_async_exit(stack)
        channel = await self._stack.enter_async_context(grpc.aio.insecure_channel(address))
        return Door(channel, stack)


class Door:
    """One coordinator: its services, and its end."""

    def __init__(self, channel: grpc.aio.Channel, running: AsyncExitStack) -> None:
        self.channel = channel
        self.client: workflow_pb2_grpc.WorkflowServiceAsyncStub = workflow_pb2_grpc.WorkflowServiceStub(
            channel
        )
        self._running = running

    async def stop(self) -> None:
        """Drain it."""
        await self._running.aclose()

    async def start(self, workflow_id: str = "", **options: Any) -> str:
        """Start a run of `flow`; its id."""
        number = next(_numbers)
        request = workflow_pb2.StartRunRequest(
            workflow="flow",
            version="1",
            workflow_id=workflow_id or f"id-{number}",
            request_id=options.pop("request_id", f"request-{number}"),
            input=common_pb2.Payload(data=options.pop("data", b"{}"), encoding="json"),
            **options,
        )
        return (await self.client.StartRun(request)).run_id

    async def signal(self, run_id: str, name: str, request_id: str = "") -> None:
        """Signal a run."""
        request = workflow_pb2.SignalRunRequest(
            run=workflow_pb2.RunReference(run_id=run_id),
            name=name,
            request_id=request_id or f"signal-{next(_numbers)}",
        )
        await self.client.SignalRun(request)

    async def describe(self, run_id: str) -> workflow_pb2.Run:
        """A run as it stands."""
        request = workflow_pb2.GetRunRequest(run=workflow_pb2.RunReference(run_id=run_id))
        return (await self.client.GetRun(request)).run


class Worker:
    """One session; what it hears is kept until it is asked for."""

    def __init__(self, door: Door, **hello: Any) -> None:
        self.hello = worker_pb2.Hello(
            **{
                "revision_min": 1,
                "revision_max": 1,
                "session_id": f"session{next(_numbers)}",
                "identity": "worker",
                "build_id": "build",
                "workflows": [worker_pb2.WorkflowHandler(name="flow", version="1")],
                "tasks": ["job"],
                **hello,
            }
        )
        self.welcome = worker_pb2.Welcome()
        self._door = door
        self._heard: deque[worker_pb2.CoordinatorMessage] = deque()
        self._call: Any = None
        self._speaking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    async def connect(self, door: Door | None = None, leases: Sequence[common_pb2.Lease] = ()) -> None:
        """Say Hello, resuming the session there was, and hear Welcome."""
        self._door = door or self._door
        stub: worker_pb2_grpc.WorkerServiceAsyncStub = worker_pb2_grpc.WorkerServiceStub(self._door.channel)
        self._call = stub.Session()
        hello = worker_pb2.Hello()
        hello.CopyFrom(self.hello)
        hello.resume_incarnation = self.welcome.incarnation
        hello.leases.extend(leases)
        self._heard.clear()
        await self.say(hello=hello)
        self.welcome = (await self.next("welcome")).welcome

    def cut(self) -> None:
        """The stream breaks."""
        self._call.cancel()

    async def say(self, **message: Any) -> None:
        """One message, in a frame of its own. Several tasks may speak: gRPC takes one write at a time."""
        frame = worker_pb2.SessionRequest(messages=[worker_pb2.WorkerMessage(**message)])
        async with self._speaking:
            await self._call.write(frame)

    async def finish(self) -> None:
        """Say no more."""
        await self._call.done_writing()

    async def next(self, kind: str) -> worker_pb2.CoordinatorMessage:
        """The next message of a kind."""
        async with asyncio.timeout(WAIT_SECONDS):
            while True:
                for message in self._heard:
                    if message.WhichOneof("kind") == kind:
                        self._heard.remove(message)
                        return message
                frame = await self._call.read()
                assert frame is not grpc.aio.EOF, f"the stream ended before a {kind} came"
                self._heard.extend(frame.messages)

    def has_heard(self, kind: str) -> bool:
        """Whether a message of a kind waits to be asked for."""
        return any(message.WhichOneof("kind") == kind for message in self._heard)

    async def round_trip(self) -> None:
        """Everything that was to be said by now has been heard."""
        await self.say(renew=worker_pb2.Renew())
        await self.next("renewed")

    async def credit(self, *, runs: int = 0, tasks: int = 0) -> None:
        """Take so many in all."""
        await self.say(credit=worker_pb2.Credit(runs_total=runs, tasks_total=tasks))

    async def granted(self) -> worker_pb2.RunGrant:
        """The next run."""
        return (await self.next("run_grant")).run_grant

    async def assigned(self) -> worker_pb2.TaskAssignment:
        """The next task."""
        return (await self.next("task_assignment")).task_assignment

    async def commit(
        self, lease: common_pb2.Lease, number: int, *events: history_pb2.Event, **options: Any
    ) -> worker_pb2.CommitResult:
        """Commit, and the answer."""
        await self.say(commit=worker_pb2.Commit(lease=lease, number=number, events=events, **options))
        return (await self.next("commit_result")).commit_result

    async def report(self, lease: common_pb2.Lease, **outcome: Any) -> worker_pb2.TaskReportResult:
        """Report, and the answer."""
        await self.say(task_report=worker_pb2.TaskReport(lease=lease, **outcome))
        return (await self.next("task_report_result")).task_report_result


@asynccontextmanager
async def a_cluster(store: Stores, ttl_seconds: float = LONG_TTL, **settings: Any) -> AsyncGenerator[Cluster]:
    """No coordinator yet."""
    async with AsyncExitStack() as stack:
        yield Cluster(store, stack, ttl_seconds, **settings)


@asynccontextmanager
async def a_coordinator(store: Stores, ttl_seconds: float = LONG_TTL) -> AsyncGenerator[Door]:
    """One coordinator on an empty store."""
    async with a_cluster(store, ttl_seconds) as cluster:
        yield await cluster.coordinator()


def scheduled(address: str) -> history_pb2.Event:
    """A task was asked for."""
    return history_pb2.Event(time_ms=1, task_scheduled=history_pb2.TaskScheduled(address=address, task="job"))


def completed(address: str) -> history_pb2.Event:
    """A task returned."""
    return history_pb2.Event(time_ms=1, task_completed=history_pb2.TaskCompleted(address=address))


def ended() -> history_pb2.Event:
    """The run is over."""
    output = common_pb2.Payload(data=b'"done"', encoding="json")
    return history_pb2.Event(time_ms=1, run_completed=history_pb2.RunCompleted(output=output))


def spec(address: str, **options: Any) -> history_pb2.TaskSpec:
    """A remote task, tried three times at once unless *options* say otherwise."""
    retry = common_pb2.RetryPolicy(attempts_max=3, factor=1)
    retry.first_delay.FromMilliseconds(1)
    retry.max_delay.FromMilliseconds(1)
    return history_pb2.TaskSpec(
        **{"address": address, "task": "job", "queue": "default", "retry": retry, **options}
    )


def reason_of(status: Any) -> str:
    """The reason that an error of a message or an rpc carries."""
    info = error_details_pb2.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            return info.reason
    return ""


def reason_of_rpc(error: grpc.aio.AioRpcError) -> str:
    """The same of an rpc that failed."""
    from google.rpc import status_pb2

    metadata = cast("Any", error.trailing_metadata()) or ()
    for key, value in metadata:
        if key == "grpc-status-details-bin":
            return reason_of(status_pb2.Status.FromString(value))
    return ""


def kinds(events: Sequence[history_pb2.Event]) -> list[str | None]:
    """What happened, in short."""
    return [event.WhichOneof("kind") for event in events]
