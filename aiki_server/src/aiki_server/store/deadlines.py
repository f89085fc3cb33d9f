"""When the time of runs is up, for those that no worker tells: looked at after a grace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_server.core.runs import Changed, NotFound, RunRecord, RunState, Terminated, WrongState
from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply

TimedOut = Terminated | WrongState | Changed | NotFound


class DeadlineStore:
    """Run ids are taken to be valid here: they come from the store."""

    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock

    def due(self, *, partition: int, until_ms: int, count: int = 100) -> Future[list[tuple[str, str]]]:
        """Runs, and their namespaces, whose time was up at *until_ms*, earliest first."""
        command = (
            "ZRANGE",
            keys.deadlines(keys.tag(partition)),
            "-inf",
            until_ms,
            "BYSCORE",
            "LIMIT",
            0,
            count,
        )
        return self._flusher.submit(command, _members)

    def move(self, *, run_id: str, namespace: str, due_ms: int) -> Future[None]:
        """Its time is up then; nothing if that is not of interest any more."""
        command = (
            "ZADD",
            keys.deadlines(keys.tag_of(run_id)),
            "XX",
            due_ms,
            keys.deadline(run_id, namespace),
        )
        return self._flusher.submit(command, replies.nothing)

    def drop(self, *, run_id: str, namespace: str) -> Future[None]:
        """Nothing is to be done about it."""
        command = ("ZREM", keys.deadlines(keys.tag_of(run_id)), keys.deadline(run_id, namespace))
        return self._flusher.submit(command, replies.nothing)

    def time_out(self, record: RunRecord, event: bytes) -> Future[TimedOut]:
        """End a run that nobody holds and that is as *record* says; `event` is its RunTimedOut."""
        run_id, prefix = record.run_id, keys.tag_of(record.run_id)
        command = script("time_out").command(
            (
                *keys.ending(record.namespace, run_id, "", RunState.TIMED_OUT),
                keys.mailbox(run_id),
                keys.deadlines(prefix),
            ),
            (
                run_id,
                keys.deadline(run_id, record.namespace),
                self._clock.now_ms(),
                event,
                record.epoch,
                record.length,
                record.mail,
            ),
        )

        def decode(reply: Reply) -> TimedOut:
            match reply[0]:
                case b"ok":
                    return replies.terminated(run_id, "", reply)
                case b"state":
                    return WrongState(replies.state_of(reply[1]))
                case b"changed":
                    return Changed()
                case _:
                    return NotFound()

        return self._flusher.submit(command, decode)


def _members(reply: list[bytes]) -> list[tuple[str, str]]:
    pairs = (member.decode().split("|", 1) for member in reply)
    return [(run_id, namespace) for run_id, namespace in pairs]
