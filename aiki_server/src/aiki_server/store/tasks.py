"""Remote tasks: scheduled → ready → leased → done, by compare-and-set on their state."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_server.core.poison import SHARED_LOSSES_MAX
from aiki_server.core.runs import (
    Begun,
    Completed,
    Deferred,
    Fenced,
    LeaseToken,
    NotReady,
    Released,
    Retrying,
    RunsAlone,
    Taken,
    TaskRecord,
    TaskState,
)
from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply


class TaskStore:
    def __init__(self, flusher: Router, clock: Clock, partitions: int) -> None:
        self._flusher = flusher
        self._clock = clock
        self._partitions = partitions
        self._take = script("take_task")
        self._complete = script("complete_task")

    def take(
        self,
        *,
        run_id: str,
        address: str,
        incarnation: str,
        nonce: str,
        worker: str = "",
        alone: bool = False,
    ) -> Future[Taken | NotReady | RunsAlone]:
        """Lease the task to an incarnation. The nonce is new for each lease, and the same in a repeat.

        `alone`: the incarnation holds nothing else, and gets nothing else while it holds this.
        """
        prefix = keys.tag_of(run_id)
        command = self._take.command(
            (
                f"{prefix}tasks:{run_id}",
                f"{prefix}run:{run_id}",
                f"{prefix}ready",
                f"{prefix}held:{incarnation}",
                f"{prefix}holders",
            ),
            (
                run_id,
                address,
                incarnation,
                nonce,
                worker,
                self._clock.now_ms(),
                int(alone),
                SHARED_LOSSES_MAX,
            ),
        )

        def decode(reply: Reply) -> Taken | NotReady | RunsAlone:
            if reply[0] == b"alone":
                return RunsAlone(reply[1].decode(), reply[2].decode())
            if reply[0] != b"taken":
                return NotReady()
            _, epoch, spec, attempt, deadline_ms, checkpoint = reply
            return Taken(LeaseToken(run_id, address, epoch, nonce), spec, attempt, deadline_ms, checkpoint)

        return self._flusher.submit(command, decode)

    def spec(self, *, run_id: str, address: str) -> Future[tuple[bytes, int] | None]:
        """The spec of an open task and the number of its attempt now, from 1; None when it is over."""

        def decode(reply: list[bytes | None]) -> tuple[bytes, int] | None:
            spec, record = reply
            if spec is None or record is None:
                return None
            return spec, replies.task_record(address, record, None).attempts_made + 1

        command = ("HMGET", keys.tasks(run_id), f"spec:{address}", f"task:{address}")
        return self._flusher.submit(command, decode)

    def start(self, *, token: LeaseToken, once: bool = False) -> Future[bool]:
        """Record that the attempt has begun, *once*: or may begin, and never another; false when the lease is over."""
        command = script("start_task").command(
            (keys.tasks(token.run_id),),
            (token.address, token.epoch, token.nonce, self._clock.now_ms(), int(once)),
        )
        return self._flusher.submit(command, bool)

    def complete(self, *, token: LeaseToken, incarnation: str, event: bytes) -> Future[Completed | Fenced]:
        """End the task with a TaskCompleted or TaskFailed event, into its run's mailbox.

        Incarnation "" is for whoever has the token of an attempt, deferred or not; also in `retry`.
        """
        run_id = token.run_id
        prefix = keys.tag_of(run_id)
        command = self._complete.command(
            (
                f"{prefix}tasks:{run_id}",
                f"{prefix}run:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}ready",
                f"{prefix}held:{incarnation}",
                f"{prefix}timers",
            ),
            (run_id, token.address, token.epoch, token.nonce, incarnation, event, self._clock.now_ms()),
        )

        def decode(reply: Reply) -> Completed | Fenced:
            if reply[0] == b"fenced":
                return replies.fenced(run_id, token.address, reply)
            return Completed(replies.attention(run_id, reply[1]))

        return self._flusher.submit(command, decode)

    def retry(
        self, *, token: LeaseToken, incarnation: str, due_ms: int, failure: bytes
    ) -> Future[Retrying | Fenced]:
        """An attempt failed and is made again at *due_ms*; the timer is set in the same script."""
        run_id, address = token.run_id, token.address
        prefix = keys.tag_of(run_id)
        command = script("retry_task").command(
            (f"{prefix}tasks:{run_id}", f"{prefix}timers", f"{prefix}held:{incarnation}"),
            (run_id, address, token.epoch, token.nonce, incarnation, due_ms, failure, self._clock.now_ms()),
        )

        def decode(reply: Reply) -> Retrying | Fenced:
            return replies.fenced(run_id, address, reply) if reply[0] == b"fenced" else Retrying(reply[1])

        return self._flusher.submit(command, decode)

    def defer(self, *, token: LeaseToken, incarnation: str, until_ms: int) -> Future[Deferred | Fenced]:
        """The attempt is over, and its outcome comes by its token until *until_ms*; 0: without limit."""
        run_id, address = token.run_id, token.address
        prefix = keys.tag_of(run_id)
        command = script("defer_task").command(
            (f"{prefix}tasks:{run_id}", f"{prefix}timers", f"{prefix}held:{incarnation}"),
            (run_id, address, token.epoch, token.nonce, incarnation, until_ms, self._clock.now_ms()),
        )

        def decode(reply: Reply) -> Deferred | Fenced:
            return replies.fenced(run_id, address, reply) if reply[0] == b"fenced" else Deferred(reply[1])

        return self._flusher.submit(command, decode)

    def progress(self, *, token: LeaseToken, incarnation: str, checkpoint: bytes) -> Future[bool]:
        """Keep what an attempt told, for the next one; false when the lease is over."""
        command = script("progress_task").command(
            (keys.tasks(token.run_id),), (token.address, token.epoch, token.nonce, incarnation, checkpoint)
        )
        return self._flusher.submit(command, bool)

    def get(self, *, run_id: str, address: str) -> Future[TaskRecord | None]:
        """A task as it stands, without the failure of its last attempt; None when there is no such."""

        def decode(reply: bytes | None) -> TaskRecord | None:
            return None if reply is None else replies.task_record(address, reply, None)

        return self._flusher.submit(("HGET", keys.tasks(run_id), f"task:{address}"), decode)

    def release(
        self, *, token: LeaseToken, incarnation: str, lost: bool = False
    ) -> Future[Released | Fenced | Begun]:
        """Back to ready, no attempt used up. Also ends the bookkeeping of a lease that was cancelled.

        `lost`: the worker died with it.
        """
        run_id, address = token.run_id, token.address
        prefix = keys.tag_of(run_id)
        command = script("release_task").command(
            (
                f"{prefix}tasks:{run_id}",
                f"{prefix}run:{run_id}",
                f"{prefix}ready",
                f"{prefix}held:{incarnation}",
                f"{prefix}timers",
            ),
            (run_id, address, token.epoch, token.nonce, incarnation, self._clock.now_ms(), int(lost)),
        )

        def decode(reply: Reply) -> Released | Fenced | Begun:
            if reply[0] == b"fenced":
                return replies.fenced(run_id, address, reply)
            if reply[0] == b"begun":
                return Begun(token, incarnation, reply[1].decode())
            return Released(replies.task_attention(run_id, address, reply[1:]))

        return self._flusher.submit(command, decode)

    async def _with_failures(self, run_id: str, records: dict[bytes, bytes]) -> dict[str, TaskRecord]:
        addresses = [field.removeprefix(b"task:").decode() for field in records]
        command = ("HMGET", keys.tasks(run_id), *(f"failure:{address}" for address in addresses))
        failures: list[bytes | None] = await self._flusher.submit(command, replies.as_it_is)
        made = map(replies.task_record, addresses, records.values(), failures)
        over = {TaskState.DONE, TaskState.CANCELLED}
        return {task.address: task for task in made if task.state not in over}

    async def list(self, *, run_id: str, limit: int = 1000) -> list[TaskRecord]:
        """Open remote tasks of a run, at most *limit* of them."""
        if not keys.is_run_id(run_id, self._partitions):
            return []
        # By address, because HSCAN may return a field twice.
        found: dict[str, TaskRecord] = {}
        cursor = b"0"
        while len(found) < limit:
            command = ("HSCAN", keys.tasks(run_id), cursor, "MATCH", "task:*", "COUNT", 500)
            cursor, fields = await self._flusher.submit(command, replies.as_it_is)
            records = dict(zip(fields[::2], fields[1::2], strict=True))
            if records:
                found |= await self._with_failures(run_id, records)
            if cursor == b"0":
                break
        return list(found.values())[:limit]
