"""One worker's session: what it serves, what it still takes, and what is to be sent to it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from aiki.v1 import common_pb2, history_pb2, worker_pb2
from aiki_server.core import ids
from aiki_server.core.matching import Lane, Profile
from aiki_server.core.runs import CacheMark, LeaseToken
from aiki_server.rpc.credit import Credit
from aiki_server.rpc.holdings import Holdings
from aiki_server.rpc.load import Load

FRAME_MESSAGES_MAX = 500
FRAME_BYTES_MAX = 3 * 1024 * 1024
CACHED_RUNS_MAX = 10_000
OUTBOX_MESSAGES_MAX = 50_000
OUTBOX_BYTES_MAX = 64 * 1024 * 1024
"""Answers and grants are bounded by what the worker sends and has credit for; beyond this it does not read."""


def lease_to_wire(token: LeaseToken) -> common_pb2.Lease:
    """A lease for the wire."""
    return common_pb2.Lease(run_id=token.run_id, address=token.address, epoch=token.epoch, nonce=token.nonce)


def lease_from_wire(lease: common_pb2.Lease) -> LeaseToken:
    """A lease from the wire."""
    return LeaseToken(lease.run_id, lease.address, lease.epoch, lease.nonce)


def profile_of(hello: worker_pb2.Hello) -> Profile:
    """What of a Hello matters for matching."""
    workflows = (ids.workflow_handler(item.name, item.version) for item in hello.workflows)
    return Profile(
        hello.namespace or ids.DEFAULT_NAMESPACE,
        tuple(hello.queues) or (ids.DEFAULT_QUEUE,),
        frozenset((*workflows, *map(ids.task_handler, hello.tasks))),
        frozenset(hello.labels),
        hello.slots,
        tuple(sorted(hello.queue_slots.items())),
        tuple(sorted((queue, max(weight, 1)) for queue, weight in hello.queue_weights.items())),
    )


class Session:
    """One incarnation. Credit is spent when a grant is asked for and given back when there is none."""

    def __init__(self, hello: worker_pb2.Hello, incarnation: str, revision: int = 1) -> None:
        self.hello = hello
        self.revision = revision
        self.load = Load()
        self.profile = profile_of(hello)
        self.namespace, self.queues, self.handlers = (
            self.profile.namespace,
            self.profile.queues,
            self.profile.handlers,
        )
        self.incarnation = incarnation
        self.draining = False
        self.closed = False
        self.fault = ""
        self.assigned: dict[tuple[str, str], tuple[history_pb2.TaskSpec, int]] = {}
        self.cached: OrderedDict[str, CacheMark] = OrderedDict()
        self.holdings = Holdings()
        self.connect_time_ms = 0
        self.is_reserved = False
        """It gets nothing but what it is reserved for."""
        self.cut_off = False
        """It does not read: what it says does not count any more, so that its leases end."""
        self._outbox: deque[tuple[worker_pb2.CoordinatorMessage, int]] = deque()
        self._outbox_bytes = 0
        self._wake = asyncio.Event()
        self.credit = Credit(hello)

    @property
    def takes_nothing(self) -> bool:
        """Whether it gets no more work, whatever its credit."""
        return self.draining or self.closed or self.is_reserved

    @property
    def free_runs(self) -> int:
        """Runs it still takes."""
        return 0 if self.takes_nothing else self.credit.runs

    @property
    def free_tasks(self) -> int:
        """Tasks it still takes."""
        return 0 if self.takes_nothing else self.credit.tasks

    @property
    def waiting(self) -> int:
        """Messages that wait to be sent to it."""
        return len(self._outbox)

    @property
    def idle_tasks(self) -> int:
        """Tasks it would begin at once, as far as its credit says; negative when what it has will wait."""
        return self.free_tasks - self.hello.prefetch

    def free_for(self, lane: Lane) -> int:
        """What it still takes of a lane that it fits."""
        return 0 if self.takes_nothing else self.credit.of(lane)

    def remember(self, run_id: str, mark: CacheMark) -> str | None:
        """It keeps this run as it stood then; the run that is given up for it, if any."""
        self.cached[run_id] = mark
        self.cached.move_to_end(run_id)
        return self.cached.popitem(last=False)[0] if len(self.cached) > CACHED_RUNS_MAX else None

    def send(self, message: worker_pb2.CoordinatorMessage) -> None:
        """Goes with the next frame; a worker that has stopped reading is cut off, and resumes."""
        size = message.ByteSize()
        self._outbox_bytes += size
        if len(self._outbox) >= OUTBOX_MESSAGES_MAX or self._outbox_bytes > OUTBOX_BYTES_MAX:
            self._outbox.clear()
            self.cut_off = True
            self.end()
        if not self.closed:
            self._outbox.append((message, size))
            self._wake.set()

    def end(self) -> None:
        """Nothing more is sent once what gathered is."""
        self.closed = True
        self._wake.set()

    def end_by(self, fault: str) -> None:
        """End it because of something the worker did wrong."""
        self.fault = fault
        self.end()

    async def next_frame(self) -> worker_pb2.SessionResponse | None:
        """What has gathered, as soon as there is something; None at the end."""
        while not self._outbox:
            if self.closed:
                return None
            self._wake.clear()
            await self._wake.wait()
        frame: list[worker_pb2.CoordinatorMessage] = []
        size = 0
        while self._outbox and len(frame) < FRAME_MESSAGES_MAX and size < FRAME_BYTES_MAX:
            message, message_bytes = self._outbox.popleft()
            size += message_bytes
            frame.append(message)
        self._outbox_bytes -= size
        return worker_pb2.SessionResponse(messages=frame)
