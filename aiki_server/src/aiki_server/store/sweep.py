"""What a sweep of one partition looks at: the ready index, holders, closed runs past retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_server.core.pace import NOTHING, Look
from aiki_server.core.runs import LISTED_CLOSED_STATES, LeaseToken, ReadyEntry
from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply


class SweepStore:
    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock

    def look(self, *, partition: int) -> Future[Look]:
        """What the partition holds that somebody may have to act on."""
        prefix = keys.tag(partition)
        command = script("look").command(
            (
                f"{prefix}ready",
                f"{prefix}timers",
                keys.deadlines(prefix),
                keys.outbox(partition),
                f"{prefix}holders",
            ),
            (),
        )

        def decode(reply: Reply) -> Look:
            if reply is None:
                return NOTHING
            ready, timer, deadline, outbox, holders = reply
            return Look(
                ready_ms=_ms(ready),
                timer_ms=_ms(timer),
                deadline_ms=_ms(deadline),
                outbox=outbox,
                holders=tuple(_texts(holders)),
            )

        return self._flusher.submit(command, decode)

    async def ready(
        self, *, partition: int, before_ms: int, skip: int = 0, count: int = 100
    ) -> list[ReadyEntry]:
        """Entries last hinted before *before_ms*, oldest first; those that are about nothing are removed."""
        prefix = keys.tag(partition)
        command = (
            "ZRANGE",
            f"{prefix}ready",
            "-inf",
            f"({before_ms}",
            "BYSCORE",
            "LIMIT",
            skip,
            count,
            "WITHSCORES",
        )
        reply: list[bytes] = await self._flusher.submit(command, replies.as_it_is)
        asked: list[tuple[str, str, int, Future[Reply]]] = []
        for member, score in zip(reply[::2], reply[1::2], strict=True):
            run_id, address = keys.split_ready(member.decode())
            look = script("ready_entry").command(
                (f"{prefix}ready", f"{prefix}run:{run_id}", f"{prefix}tasks:{run_id}"), (run_id, address)
            )
            asked.append((run_id, address, int(float(score)), self._flusher.submit(look, replies.as_it_is)))
        found: list[ReadyEntry] = []
        for run_id, address, hinted_ms, future in asked:
            entry = await future
            if entry is None:
                continue
            if entry[0] == b"task":
                found.append(ReadyEntry(replies.task_attention(run_id, address, entry[1:]), hinted_ms))
            else:
                found.append(ReadyEntry(replies.attention(run_id, entry[1]), hinted_ms))
        return found

    def hinted(self, *, partition: int, entries: list[ReadyEntry]) -> Future[None]:
        """These were hinted (or poked) again just now; an entry that has gone stays gone."""
        if not entries:
            return self._flusher.answer(None)
        now_ms = self._clock.now_ms()
        pairs = [part for entry in entries for part in (now_ms, replies.member_of(entry.attention))]
        command = script("set_scores").command((f"{keys.tag(partition)}ready",), ("XX", *pairs))
        return self._flusher.submit(command, replies.nothing)

    def holders(self, *, partition: int) -> Future[list[str]]:
        """Incarnations that hold, or held, something here."""
        command = ("ZRANGE", f"{keys.tag(partition)}holders", 0, -1)
        return self._flusher.submit(command, _texts)

    async def held(self, *, partition: int, incarnation: str, count: int = 100) -> list[LeaseToken]:
        """Some of the leases it holds here: release each (also as TaskStore.release), then ask again.

        Empty: it holds nothing; call `forget_holder`.
        """
        key = f"{keys.tag(partition)}held:{incarnation}"
        members: list[bytes] = await self._flusher.submit(("SRANDMEMBER", key, count), replies.as_it_is)
        asked = [(keys.split_ready(member.decode()), self._lease(member.decode())) for member in members]
        return [LeaseToken(run_id, address, *await future) for (run_id, address), future in asked]

    def forget_holder(self, *, partition: int, incarnation: str) -> Future[bool]:
        """Drop it from holders; false if it holds something."""
        prefix = keys.tag(partition)
        command = script("forget_holder").command(
            (f"{prefix}holders", f"{prefix}held:{incarnation}"), (incarnation,)
        )
        return self._flusher.submit(command, bool)

    async def purge(self, *, partition: int, closed_before_ms: int, count: int = 10) -> int:
        """Delete up to *count* runs closed before then; how many are gone. Each in a script of its own."""
        prefix = keys.tag(partition)
        command = ("ZRANGE", f"{prefix}closed", "-inf", f"({closed_before_ms}", "BYSCORE", "LIMIT", 0, count)
        run_ids: list[str] = await self._flusher.submit(command, _texts)
        asked = [
            self._flusher.submit(
                ("HMGET", f"{prefix}run:{run_id}", "namespace", "workflow_id"), replies.as_it_is
            )
            for run_id in run_ids
        ]
        gone = 0
        for run_id, future in zip(run_ids, asked, strict=True):
            gone += await self._purge(prefix, run_id, await future, closed_before_ms)
        return gone

    def next_due(self, *, partition: int) -> Future[int | None]:
        """When the partition's earliest timer is due, in ms."""

        def decode(reply: list[bytes]) -> int | None:
            return int(float(reply[1])) if reply else None

        return self._flusher.submit(("ZRANGE", f"{keys.tag(partition)}timers", 0, 0, "WITHSCORES"), decode)

    def _lease(self, member: str) -> Future[tuple[int, str]]:
        """Epoch and nonce of the lease that a run or task has now; a stale one is fenced when it is released."""
        run_id, address = keys.split_ready(member)
        if not address:
            return self._flusher.submit(("HMGET", keys.run(run_id), "epoch", "nonce"), _run_lease)

        def decode(reply: bytes | None) -> tuple[int, str]:
            if reply is None:
                return 0, ""
            task = replies.task_record(address, reply, None)
            return task.epoch, task.nonce

        return self._flusher.submit(("HGET", keys.tasks(run_id), f"task:{address}"), decode)

    def _purge(self, prefix: str, run_id: str, names: Reply, closed_before_ms: int) -> Future[int]:
        namespace, workflow_id = ((name or b"").decode() for name in names)
        command = script("purge").command(
            (
                f"{prefix}run:{run_id}",
                f"{prefix}history:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}tasks:{run_id}",
                f"{prefix}closed",
                f"{prefix}state:{run_id}",
                keys.workflow(prefix, namespace, workflow_id),
                keys.seen(prefix, namespace, workflow_id),
                f"{prefix}logs:{run_id}",
                *(keys.index(prefix, namespace, state) for state in LISTED_CLOSED_STATES),
            ),
            (run_id, closed_before_ms),
        )
        return self._flusher.submit(command, int)


def _ms(score: bytes) -> int | None:
    return int(float(score)) if score else None


def _texts(reply: list[bytes]) -> list[str]:
    return [text.decode() for text in reply]


def _run_lease(reply: list[bytes | None]) -> tuple[int, str]:
    epoch, nonce = reply
    return int(epoch or 0), (nonce or b"").decode()
