"""What is done to a run from outside its history: hold it, end it, move its timers, tell it of its children."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aiki_server.core.runs import (
    Attention,
    ChildRecord,
    NotFound,
    OutboxEntry,
    Paused,
    RunRecord,
    Terminated,
    TimerKind,
    WrongState,
)
from aiki_server.store import keys, replies
from aiki_server.store.calls import Again
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply

CHILD_PAGE = 200


class ControlStore:
    """Run ids are taken to be valid here: they come from the store."""

    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock

    def pause(self, *, run_id: str, event: bytes, freeze: bool) -> Future[Paused | WrongState | NotFound]:
        """Hold a run. `event` is its RunPaused."""
        command = script("pause").command(
            (keys.run(run_id), keys.mailbox(run_id), f"{keys.tag_of(run_id)}ready"),
            (run_id, self._clock.now_ms(), "freeze" if freeze else "run", event),
        )

        def decode(reply: Reply) -> Paused | WrongState | NotFound:
            match reply[0]:
                case b"ok":
                    return Paused(replies.attention(run_id, reply[1]))
                case b"state":
                    return WrongState(replies.state_of(reply[1]))
                case _:
                    return NotFound()

        return self._flusher.submit(command, decode)

    def paused_since(self, *, run_id: str) -> Future[tuple[str, int]]:
        """How a run is held, and since when; "" and 0 when it is not."""

        def decode(reply: list[bytes | None]) -> tuple[str, int]:
            return (reply[0] or b"").decode(), int(reply[1] or 0)

        return self._flusher.submit(("HMGET", keys.run(run_id), "paused", "paused_ms"), decode)

    def unpause(
        self, *, run_id: str, since_ms: int, event: bytes
    ) -> Future[Attention | WrongState | NotFound]:
        """Let a held run go on. `since_ms` is what `paused_since` said, `event` its RunResumed."""
        command = script("unpause").command(
            (keys.run(run_id), keys.mailbox(run_id), f"{keys.tag_of(run_id)}ready"),
            (run_id, self._clock.now_ms(), since_ms, event),
        )

        def decode(reply: Reply) -> Attention | WrongState | NotFound:
            match reply[0]:
                case b"ok":
                    return replies.attention(run_id, reply[1])
                case b"state":
                    return WrongState(replies.state_of(reply[1]))
                case _:
                    return NotFound()

        return self._flusher.submit(command, decode)

    def terminate(self, record: RunRecord, event: bytes) -> Future[Terminated | WrongState | NotFound]:
        """End a run at once. `event` is the last of its history."""

        def attempt(holder: str) -> Again[Terminated | WrongState | NotFound]:
            command = script("terminate").command(
                keys.ending(record.namespace, record.run_id, holder),
                (record.run_id, holder, self._clock.now_ms(), event),
            )

            def decode(
                reply: Reply,
            ) -> Terminated | WrongState | NotFound | Again[Terminated | WrongState | NotFound]:
                match reply[0]:
                    case b"ok":
                        return replies.terminated(record.run_id, holder, reply)
                    case b"holder":
                        return attempt(reply[1].decode())
                    case b"state":
                        return WrongState(replies.state_of(reply[1]))
                    case _:
                        return NotFound()

            return Again(command, decode)

        first = attempt(record.holder)
        return self._flusher.submit(first.command, first.decode)

    def move_timer(
        self, *, run_id: str, kind: TimerKind, address: str, due_ms: int, event: bytes
    ) -> Future[Attention | NotFound]:
        """Change when a timer fires. `event` tells the run, if it is not empty."""
        prefix = keys.tag_of(run_id)
        command = script("move_timer").command(
            (f"{prefix}run:{run_id}", f"{prefix}timers", f"{prefix}mailbox:{run_id}", f"{prefix}ready"),
            (run_id, keys.timer(kind, run_id, address), due_ms, event, self._clock.now_ms()),
        )

        def decode(reply: Reply) -> Attention | NotFound:
            return replies.attention(run_id, reply[1]) if reply[0] == b"ok" else NotFound()

        return self._flusher.submit(command, decode)

    def settle_child(
        self, *, parent: str, address: str, event: bytes, state: str
    ) -> Future[Attention | None]:
        """Tell a parent how its child ended; None when it knows, or does not want to."""
        first = self._settle(parent, address, event, state)
        return self._flusher.submit(first.command, first.decode)

    async def children(self, *, run_id: str, only_open: bool = False) -> list[ChildRecord]:
        """The children of a run."""
        found: list[ChildRecord] = []
        cursor = b"0"
        while True:
            command = ("HSCAN", keys.tasks(run_id), cursor, "MATCH", "child:*", "COUNT", CHILD_PAGE)
            cursor, fields = await self._flusher.submit(command, replies.as_it_is)
            for name, text in zip(fields[::2], fields[1::2], strict=True):
                child = _child(name.decode().removeprefix("child:"), text)
                if child.state == "open" or not only_open:
                    found.append(child)
            if cursor == b"0":
                return found

    def child(self, *, run_id: str, address: str) -> Future[ChildRecord | None]:
        """One child of a run."""

        def decode(reply: bytes | None) -> ChildRecord | None:
            return None if reply is None else _child(address, reply)

        return self._flusher.submit(("HGET", keys.tasks(run_id), f"child:{address}"), decode)

    def answer(self, *, run_id: str, update_id: str) -> Future[bytes]:
        """The UpdateCompleted of an update; empty while there is none."""

        def decode(reply: bytes | None) -> bytes:
            return reply or b""

        return self._flusher.submit(("HGET", keys.state(run_id), f"u:{update_id}"), decode)

    def published(self, *, run_id: str) -> Future[dict[str, bytes]]:
        """What the run has published, by key: serialized Payloads."""

        def decode(reply: list[bytes]) -> dict[str, bytes]:
            pairs = zip(reply[::2], reply[1::2], strict=True)
            return {
                name.decode().removeprefix("s:"): value for name, value in pairs if name.startswith(b"s:")
            }

        return self._flusher.submit(("HGETALL", keys.state(run_id)), decode)

    def outbox(self, *, partition: int, count: int) -> Future[list[OutboxEntry]]:
        """The oldest entries of a partition's outbox."""
        return self._flusher.submit(("XRANGE", keys.outbox(partition), "-", "+", "COUNT", count), _entries)

    def outbox_done(self, *, partition: int, entry_ids: list[str]) -> Future[None]:
        """These have been acted on."""
        return self._flusher.submit(("XDEL", keys.outbox(partition), *entry_ids), replies.nothing)

    def send_again(self, record: RunRecord, kind: str, event: bytes, *, address: str = "") -> Future[None]:
        """Put an entry of this run into its outbox, as new."""
        outbox = f"{keys.tag_of(record.run_id)}outbox"
        pairs = (
            "k",
            kind,
            "n",
            record.namespace,
            "s",
            record.run_id,
            "t",
            record.run_id,
            "a",
            address,
            "d",
            event,
        )
        return self._flusher.submit(("XADD", outbox, "*", *pairs), replies.nothing)

    def _settle(self, parent: str, address: str, event: bytes, state: str) -> Again[Attention | None]:
        prefix = keys.tag_of(parent)
        command = script("settle_child").command(
            (
                f"{prefix}run:{parent}",
                f"{prefix}mailbox:{parent}",
                f"{prefix}ready",
                f"{prefix}tasks:{parent}",
            ),
            (parent, address, event, self._clock.now_ms(), state),
        )

        def decode(reply: Reply) -> Attention | Again[Attention | None] | None:
            match reply[0]:
                case b"ok":
                    return replies.attention(parent, reply[1])
                case b"next":
                    return self._settle(reply[1].decode(), address, event, state)
                case _:
                    return None

        return Again(command, decode)


def _child(address: str, text: bytes) -> ChildRecord:
    fields = json.loads(text)
    return ChildRecord(address, fields["run"], fields["workflow_id"], fields["policy"], fields["state"])


def _entries(reply: list[Reply]) -> list[OutboxEntry]:
    entries: list[OutboxEntry] = []
    for entry_id, pairs in reply:
        fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
        entries.append(
            OutboxEntry(
                entry_id.decode(),
                fields[b"k"].decode(),
                fields[b"n"].decode(),
                fields[b"s"].decode(),
                fields[b"t"].decode(),
                fields[b"a"].decode(),
                fields[b"d"],
            )
        )
    return entries
