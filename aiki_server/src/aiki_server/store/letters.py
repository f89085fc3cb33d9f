"""Letters between coordinators that are too long for their streams: kept for a moment, each read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.store.calls import Router

TTL_MS: Final = 30_000


class LetterStore:
    def __init__(self, flusher: Router) -> None:
        self._flusher = flusher

    def send(self, *, coordinator_id: str, name: str, letter: bytes) -> Future[None]:
        """For a coordinator, which is told of it by a message."""
        command = ("SET", keys.letter(coordinator_id, name), letter, "PX", TTL_MS)
        return self._flusher.submit(command, replies.nothing)

    def receive(self, *, coordinator_id: str, name: str) -> Future[bytes | None]:
        """None when it is gone, or was read. Sent again after a broken connection, it may find it gone: ask again."""
        return self._flusher.submit(("GETDEL", keys.letter(coordinator_id, name)), replies.as_it_is)
