"""The session with a coordinator: one stream at a time, resumed elsewhere when it breaks.

Runs on the session thread's loop and never waits for the main thread, so that user code that blocks
cannot look like death. Invariants: after a resume, what is unanswered goes before anything new; when
the session is lost, all of it is forgotten before a new one begins.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeGuard

import grpc
import grpc.aio

from aiki.v1 import worker_pb2, worker_pb2_grpc
from aiki_client.connection import reason_of
from aiki_client.errors import error_info, from_rpc
from aiki_worker import messages, wire
from aiki_worker.clock import StoreClock
from aiki_worker.lines import Line, Lines, retry_seconds
from aiki_worker.outbox import Outbox
from aiki_worker.runtime import runtime

if TYPE_CHECKING:
    Call = grpc.aio.StreamStreamCall[worker_pb2.SessionRequest, worker_pb2.SessionResponse]

REVISION_MIN: Final = 1
REVISION: Final = 2
"""The protocol revisions this worker speaks; docs/protocol.md has what changed in each."""
OF_ONE_STREAM: Final = frozenset({"credit", "recall_ack"})
"""What means nothing on another stream than the one it was said for."""
FRAME_BYTES_MAX: Final = 2 * 1024 * 1024
WELCOME_SECONDS_MAX: Final = 10.0
TOLD_EVERY: Final = 10
"""Of attempts to connect that fail one after the other, how many make one line of log."""
NOT_NOW: Final = frozenset({"DRAINING", "STORE_UNAVAILABLE", "STORE_UNSAFE"})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the worker is and what it serves; `workflows` are names and versions."""

    namespace: str
    session_id: str
    identity: str
    build_id: str
    queues: Sequence[str]
    workflows: Sequence[tuple[str, str]]
    tasks: Sequence[str]
    slots: int
    prefetch: int = 0
    labels: Sequence[str] = ()
    queue_slots: Mapping[str, int] = field(default_factory=dict[str, int])
    queue_weights: Mapping[str, int] = field(default_factory=dict[str, int])


class StreamOverError(Exception):
    """The stream is of no more use. Never leaves this module."""


class MovingError(Exception):
    """The coordinator wants to go, and another one is ready. Never leaves this module."""


class SessionLostError(Exception):
    """The coordinator has given up on this session. Never leaves this module."""


class FinishedError(Exception):
    """All is said and answered. Never leaves this module."""


@dataclass(slots=True)
class _Stream:
    """What is known of the current stream."""

    number: int
    call: Call
    ttl_s: float
    renewals: int = 0
    renewed: asyncio.Event = field(default_factory=asyncio.Event)


class Session:
    """Speaks for one worker, from the first Hello to the end.

    `deliver` gets what arrives, in order, on the session thread.
    """

    def __init__(
        self,
        lines: Lines,
        identity: Identity,
        clock: StoreClock,
        deliver: Callable[[list[messages.Inbound]], None],
    ) -> None:
        self.outbox = Outbox()
        self.ttl_s = 0.0
        self._lines = lines
        self._left: tuple[Line, Call] | None = None
        self._coordinator_goes = asyncio.Event()
        self._identity = identity
        self._clock = clock
        self._deliver = deliver
        self._submitted: deque[tuple[int, list[worker_pb2.WorkerMessage]]] = deque()
        self._own: list[worker_pb2.WorkerMessage] = []
        self._wake = asyncio.Event()
        self._closing = False
        self._ended = asyncio.Event()
        self.welcomed = asyncio.Event()
        self._incarnation = ""
        self._streams = 0
        self._stream: _Stream | None = None

    def give_back(self, lease: messages.Lease) -> None:
        """Release what has not begun; called on this thread."""
        release = wire.release_to_wire(lease)
        # From now on: what waits to be said does not outlive the stream.
        self.outbox.add(release)
        self._own.append(release)
        self._wake.set()

    @property
    def is_connected(self) -> bool:
        """Whether there is a stream on which it was welcomed."""
        return self._stream is not None

    def submit(self, stream: int, batch: list[worker_pb2.WorkerMessage]) -> None:
        """Say *batch*; credits in it count for stream number *stream* only. Thread-safe; then `wake`."""
        self._submitted.append((stream, batch))

    def wake(self) -> None:
        """Something was submitted."""
        self._wake.set()

    def close(self) -> None:
        """End once everything is said and answered."""
        self._closing = True
        self._wake.set()

    async def run(self) -> None:
        """Speak until closed, or until no coordinator would ever listen."""
        try:
            await self._run()
        finally:
            await _close(self._left)
            self._ended.set()

    async def _run(self) -> None:
        failures = 0
        while True:
            line = await self._lines.following()
            streams = self._streams
            try:
                if line is not None:
                    await self._speak(line)
            except FinishedError:
                return
            except MovingError as error:
                log.info("coordinator %s wants to go: moving to %s", line and line.address, error)
                continue
            except SessionLostError:
                self._lose()
            except (StreamOverError, TimeoutError, grpc.aio.AioRpcError) as error:
                assert line is not None
                if not self._may_go_on(line.address, error, failures):
                    return
            unreachable = self._lines.end_of_patience
            if unreachable is not None:
                self._deliver([messages.Fatal(unreachable)])
                return
            if self._closing and not self.outbox.leases:
                return
            failures = 0 if self._streams != streams else failures + 1
            await asyncio.sleep(retry_seconds(failures))

    async def release_all(self) -> None:
        """Give every lease back, whatever is under way: the worker is about to die."""
        if self._stream is None:
            return
        self._own += [
            wire.release_to_wire(wire.lease_from_wire(lease)) for lease in self.outbox.leases.values()
        ]
        self._submitted.clear()
        self.close()
        await self._ended.wait()

    def _lose(self) -> None:
        log.warning("the session was lost: dropping all work, beginning a new one")
        self.outbox.clear()
        self._incarnation = ""
        self._deliver([messages.SessionLost()])

    def _may_go_on(self, address: str, error: Exception, failures: int) -> bool:
        if not isinstance(error, grpc.aio.AioRpcError):
            reason = str(error) or "no answer in time"
            self._lines.failed(address, reason)
            log.warning("stream to %s broke: %s", address, reason)
            return True
        self._lines.failed(address, reason_of(error))
        info = error_info(error)
        if info is not None and info.reason == "SESSION_LOST":
            self._lose()
            return True
        final = info.reason not in NOT_NOW if info is not None else error.code() in _FINAL
        if final:
            self._deliver([messages.Fatal(from_rpc(error))])
            return False
        if failures % TOLD_EVERY == 0:
            reason = str(from_rpc(error)) if info is not None else error.code().name
            log.warning("coordinator %s does not answer (%s): trying again", address, reason)
        return True

    async def _speak(self, line: Line) -> None:
        stub: worker_pb2_grpc.WorkerServiceAsyncStub = worker_pb2_grpc.WorkerServiceStub(line.channel)
        call = stub.Session()
        left, self._left = self._left, None
        is_moving = False
        try:
            async with asyncio.timeout(WELCOME_SECONDS_MAX):
                stream = await self._greet(call)
            await _close(left)
            left = None
            self._lines.welcomed()
            log.info("connected to %s as %s", line.address, self._incarnation)
            await self._converse(stream)
        except MovingError:
            is_moving = True
            self._left = (line, call)
            raise
        except asyncio.InvalidStateError as error:
            raise StreamOverError("it was closed") from error
        finally:
            self._stream = None
            await _close(left)
            if not is_moving:
                await _close((line, call))

    async def _converse(self, stream: _Stream) -> None:
        self._coordinator_goes.clear()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._send(stream))
                group.create_task(self._receive(stream))
                group.create_task(self._renew(stream))
                group.create_task(self._move())
        except BaseExceptionGroup as errors:
            # The first to end has the reason; the others went down with it.
            raise errors.exceptions[0] from None

    async def _move(self) -> None:
        """Once the coordinator wants to go: find another, and leave for it when it is there."""
        await self._coordinator_goes.wait()
        raise MovingError(await self._lines.make_next())

    async def _greet(self, call: Call) -> _Stream:
        await call.write(worker_pb2.SessionRequest(messages=[self._hello()]))
        frame = await call.read()
        if not isinstance(frame, worker_pb2.SessionResponse):
            raise StreamOverError("the coordinator ended it")
        if not frame.messages or frame.messages[0].WhichOneof("kind") != "welcome":
            raise StreamOverError("the coordinator did not begin with Welcome")
        welcome = frame.messages[0].welcome
        self._incarnation = welcome.incarnation
        self._streams += 1
        self.ttl_s = welcome.lease_ttl.ToTimedelta().total_seconds()
        self._clock.follow(welcome.store_time_ms)
        self.outbox.lost(welcome.lost)
        if welcome.lost:
            log.warning("%d leases were lost meanwhile: dropping that work", len(welcome.lost))
        lost = [wire.lease_from_wire(lease) for lease in welcome.lost]
        stream = self._stream = _Stream(self._streams, call, self.ttl_s)
        connected = messages.Connected(
            stream=stream.number,
            lost=lost,
            revision=welcome.revision,
            counts_slots=welcome.counts_slots,
        )
        self._deliver([connected])
        self._own = self.outbox.unanswered()
        self._wake.set()
        self.welcomed.set()
        self._hear(stream, frame.messages[1:])
        return stream

    def _hello(self) -> worker_pb2.WorkerMessage:
        who = self._identity
        resumes = bool(self._incarnation)
        hello = worker_pb2.Hello(
            revision_min=REVISION_MIN,
            revision_max=REVISION,
            namespace=who.namespace,
            session_id=who.session_id,
            identity=who.identity,
            build_id=who.build_id,
            queues=who.queues,
            workflows=[
                worker_pb2.WorkflowHandler(name=name, version=version) for name, version in who.workflows
            ],
            tasks=who.tasks,
            resume_incarnation=self._incarnation,
            leases=list(self.outbox.leases.values()) if resumes else (),
            slots=who.slots,
            runtime=runtime(),
            prefetch=who.prefetch,
            unstarted=self.outbox.unstarted if resumes else (),
            labels=who.labels,
            queue_slots=who.queue_slots,
            queue_weights=who.queue_weights,
            counts_slots=True,
        )
        return worker_pb2.WorkerMessage(hello=hello)

    async def _send(self, stream: _Stream) -> None:
        while True:
            self._wake.clear()
            for frame in wire.frames(self._gather(stream), FRAME_BYTES_MAX):
                await stream.call.write(frame)
            if self._closing and self.outbox.is_empty and not self._submitted:
                await stream.call.done_writing()
                raise FinishedError
            await self._wake.wait()

    def _gather(self, stream: _Stream) -> list[worker_pb2.WorkerMessage]:
        pending, self._own = self._own, []
        for message in pending:
            self.outbox.add(message)
        while self._submitted:
            number, batch = self._submitted.popleft()
            for message in batch:
                if message.WhichOneof("kind") in OF_ONE_STREAM and number != stream.number:
                    continue
                self.outbox.add(message)
                pending.append(message)
        return pending

    async def _receive(self, stream: _Stream) -> None:
        while True:
            frame = await stream.call.read()
            if not isinstance(frame, worker_pb2.SessionResponse):
                raise StreamOverError("the coordinator ended it")
            self._hear(stream, frame.messages)

    def _hear(self, stream: _Stream, heard: Sequence[worker_pb2.CoordinatorMessage]) -> None:
        inbound: list[messages.Inbound] = []
        leaving = False
        for message in heard:
            kind = message.WhichOneof("kind")
            if kind == "renewed":
                self._renewed(stream, message.renewed)
            elif kind == "drain":
                leaving = True
            else:
                self.outbox.heard(message)
                parsed = wire.inbound_from_wire(message)
                if parsed is not None:
                    inbound.append(parsed)
                    if _ends_lease(parsed):
                        self.outbox.lost([wire.lease_to_wire(parsed.lease)])
        if inbound:
            self._deliver(inbound)
        if leaving:
            self._coordinator_goes.set()
        if self._closing:
            self._wake.set()

    def _renewed(self, stream: _Stream, renewed: worker_pb2.Renewed) -> None:
        refusal = wire.refusal_from_wire(renewed)
        if refusal is None:
            self._clock.follow(renewed.store_time_ms)
            stream.renewed.set()
        elif refusal.reason == "SESSION_LOST":
            raise SessionLostError

    async def _renew(self, stream: _Stream) -> None:
        """Renew each third of the TTL; a whole TTL without an answer is a dead stream."""
        while True:
            stream.renewed.clear()
            self._own.append(worker_pb2.WorkerMessage(renew=worker_pb2.Renew()))
            self._wake.set()
            await asyncio.sleep(stream.ttl_s / 3)
            stream.renewals = 0 if stream.renewed.is_set() else stream.renewals + 1
            if stream.renewals >= 3:
                raise StreamOverError(f"no renewal was answered for {stream.ttl_s:g} s")


_FINAL: Final = frozenset(
    {
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    }
)


def _ends_lease(
    message: messages.Inbound,
) -> TypeGuard[messages.Cancel | messages.CommitResult | messages.HistoryPage]:
    if isinstance(message, messages.Cancel):
        return True
    if isinstance(message, messages.CommitResult | messages.HistoryPage):
        return message.refusal is not None and message.refusal.reason == "FENCED"
    return False


async def _close(left: tuple[Line, Call] | None) -> None:
    if left is not None:
        left[1].cancel()
        await left[0].close()
