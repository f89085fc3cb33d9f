"""Runs that go on from an event of another: reset and fork."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_server.core.runs import (
    Branch,
    Changed,
    IdTaken,
    NotFound,
    RunRecord,
    Started,
    Terminated,
    TimerKind,
)
from aiki_server.store import keys, replies
from aiki_server.store.calls import Again
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Argument, Reply

ResetOutcome = Terminated | Started | IdTaken | Changed | NotFound


class BranchStore:
    """Run ids are taken to be valid here: they come from the store."""

    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock

    async def mail(self, *, run_id: str) -> list[bytes]:
        """All that waits in the mailbox of a run."""
        return await self._flusher.submit(("LRANGE", keys.mailbox(run_id), 0, -1), replies.as_it_is)

    def reset(
        self, record: RunRecord, *, event: bytes, new_id: str, length: int, mail: int, branch: Branch
    ) -> Future[ResetOutcome]:
        """End a run, unless it is closed, and make `new_id`. `event` is the RunTerminated of the one it ends.

        `length` and `mail` are those of its history and mailbox when they were read. `Started`: it was there.
        """
        tail = (length, mail, branch.length, *_arguments(new_id, branch))

        def attempt(holder: str) -> Again[ResetOutcome]:
            command = script("reset").command(
                (*_reset_keys(record, holder), *_new_keys(new_id), keys.deadlines(keys.tag_of(new_id))),
                (record.run_id, holder, self._clock.now_ms(), event, new_id, *tail),
            )

            def decode(reply: Reply) -> ResetOutcome | Again[ResetOutcome]:
                match reply[0]:
                    case b"ok":
                        return replies.terminated(record.run_id, holder, reply)
                    case b"repeat":
                        return Started(new_id, repeat=True)
                    case b"other":
                        return IdTaken(reply[1].decode())
                    case b"holder":
                        return attempt(reply[1].decode())
                    case b"changed":
                        return Changed()
                    case _:
                        return NotFound()

            return Again(command, decode)

        first = attempt(record.holder)
        return self._flusher.submit(first.command, first.decode)

    async def fork(
        self, record: RunRecord, *, new_id: str, workflow_id: str, branch: Branch
    ) -> Started | IdTaken | NotFound:
        """Make `new_id` under `workflow_id`; the run stays as it is."""
        dump = await self._flusher.submit(("DUMP", keys.history(record.run_id)), replies.as_it_is)
        if dump is None:
            return NotFound()
        prefix = keys.tag_of(new_id)
        command = script("fork").command(
            (
                *_new_keys(new_id),
                keys.workflow(prefix, record.namespace, workflow_id),
                f"{prefix}ready",
                f"{prefix}timers",
                keys.index(prefix, record.namespace, "open"),
                keys.deadlines(prefix),
            ),
            (
                *(new_id, record.namespace, workflow_id, record.workflow, record.version, record.queue),
                *(self._clock.now_ms(), branch.length, dump, record.placement.encode()),
                *_arguments(new_id, branch),
            ),
        )

        def decode(reply: Reply) -> Started | IdTaken:
            if reply[0] == b"taken":
                return IdTaken(reply[1].decode())
            return Started(new_id, repeat=reply[0] == b"repeat")

        return await self._flusher.submit(command, decode)


def _reset_keys(record: RunRecord, holder: str) -> tuple[str, ...]:
    run_id = record.run_id
    prefix = keys.tag_of(run_id)
    return (
        *keys.ending(record.namespace, run_id, holder),
        f"{prefix}mailbox:{run_id}",
        keys.workflow(prefix, record.namespace, record.workflow_id),
    )


def _new_keys(run_id: str) -> tuple[str, ...]:
    return (
        keys.run(run_id),
        keys.history(run_id),
        keys.mailbox(run_id),
        keys.tasks(run_id),
        keys.state(run_id),
    )


def _arguments(new_id: str, branch: Branch) -> list[Argument]:
    """As `branch.lua` reads them."""
    arguments: list[Argument] = [branch.first, branch.note]
    arguments += [len(branch.timers), len(branch.fields), len(branch.children), len(branch.mail)]
    arguments.append(branch.deadline_ms)
    for address, due_ms in branch.timers:
        arguments += [keys.timer(TimerKind.TIMER, new_id, address), due_ms]
    for name, value in branch.fields:
        arguments += [name, value]
    for address, record in branch.children:
        arguments += [address, record]
    arguments += branch.mail
    return arguments
