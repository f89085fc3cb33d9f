"""Timers: due → what to do; re-checked and removed in the script of their effect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiki_server.core.runs import DueTimer, Expired, Fired, HeldTask, LeaseToken, TimerKind
from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply


class TimerStore:
    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock
        self._fire = script("fire")

    def due(self, *, partition: int, until_ms: int, count: int = 100) -> Future[list[DueTimer]]:
        """Timers due at or before *until_ms*, earliest first: ask for now plus the sweep's interval, and arm them."""
        command = (
            "ZRANGE",
            f"{keys.tag(partition)}timers",
            "-inf",
            until_ms,
            "BYSCORE",
            "LIMIT",
            0,
            count,
            "WITHSCORES",
        )
        return self._flusher.submit(command, _due)

    def begins_ms(self, *, run_id: str) -> Future[int]:
        """When a run begins whose start is delayed; 0 when it has begun."""
        member = keys.timer(TimerKind.WAKE, run_id, "")

        def decode(reply: bytes | None) -> int:
            return 0 if reply is None else int(float(reply))

        return self._flusher.submit(("ZSCORE", f"{keys.tag_of(run_id)}timers", member), decode)

    def fire(self, timer: DueTimer, event: bytes, queue_event: bytes = b"") -> Future[Fired | Expired | None]:
        """None when it is gone, or not due (any more).

        `event` becomes mail of the run: TimerFired, TaskRetryDue, or, when a remote task is out of time
        altogether, its TaskFailed; `queue_event` when it has waited too long in its queue (`loops.mail` makes them).
        Nothing when a backoff is over.
        """
        run_id, address = timer.run_id, timer.address
        prefix = keys.tag_of(run_id)
        command = self._fire.command(
            (
                f"{prefix}timers",
                f"{prefix}run:{run_id}",
                f"{prefix}mailbox:{run_id}",
                f"{prefix}ready",
                f"{prefix}tasks:{run_id}",
            ),
            (timer.kind, run_id, address, self._clock.now_ms(), event, queue_event),
        )

        def decode(reply: Reply) -> Fired | Expired | None:
            if reply is None:
                return None
            if reply[0] == b"expired":
                _, epoch, nonce, spec, attempt = reply
                return Expired(LeaseToken(run_id, address, epoch, nonce.decode()), spec, attempt)
            if reply[0] == b"task":
                return Fired(replies.task_attention(run_id, address, reply[1:]))
            return Fired(replies.attention(run_id, reply[1]), _cancelled(run_id, address, reply[2]))

        return self._flusher.submit(command, decode)


def _due(reply: list[bytes]) -> list[DueTimer]:
    timers: list[DueTimer] = []
    for member, score in zip(reply[::2], reply[1::2], strict=True):
        kind, run_id, address = member.decode().split("|", 2)
        timers.append(DueTimer(TimerKind(kind), run_id, address, int(float(score))))
    return timers


def _cancelled(run_id: str, address: str, reply: list[Reply]) -> HeldTask | None:
    if not reply:
        return None
    epoch, nonce, holder = reply
    return HeldTask(LeaseToken(run_id, address, epoch, nonce.decode()), holder.decode())
