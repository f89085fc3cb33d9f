"""What code logged in runs, beside their histories: bounded, and gone with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from aiki_server.core.runs import LeaseToken
    from aiki_server.store.calls import Router
    from aiki_server.store.connection import Reply

LINES_KEPT: Final = 1_000
LINES_MAX: Final = 200
"""In one call."""


class LogStore:
    """Lines are serialized LogLines; the store orders them by their time."""

    def __init__(self, flusher: Router) -> None:
        self._flusher = flusher

    def append(self, token: LeaseToken, lines: Sequence[tuple[int, bytes]]) -> Future[bool]:
        """Keep lines, each with its time in us; false when the run is gone or *token*, of a run, is not its lease now."""
        fence = ("", "") if token.address else (token.epoch, token.nonce)
        pairs = [part for line in lines[:LINES_MAX] for part in line]
        command = script("append_logs").command(
            (keys.run(token.run_id), keys.logs(token.run_id)), (*fence, LINES_KEPT, *pairs)
        )
        return self._flusher.submit(command, bool)

    def read(self, *, run_id: str, after_us: int, count: int) -> Future[list[bytes]]:
        """Lines after a time, the oldest first."""
        command = ("ZRANGE", keys.logs(run_id), f"({after_us}", "+inf", "BYSCORE", "LIMIT", 0, count)
        return self._flusher.submit(command, replies.as_it_is)

    def dropped(self, *, run_id: str) -> Future[int]:
        """Lines that were too many; at least so many."""

        def decode(reply: Reply) -> int:
            return int(reply or 0)

        return self._flusher.submit(("HGET", keys.run(run_id), "logs_dropped"), decode)
