"""Sessions (incarnations), coordinators, and who serves which handler: sorted sets of what is alive until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiki_server.store import keys, replies
from aiki_server.store.calls import Again
from aiki_server.store.scripts import script

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable

    from aiki_server.store.calls import Router
    from aiki_server.store.clock import Clock
    from aiki_server.store.connection import Reply


DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Losses:
    """Incarnations whose workers were taken for dead, and those of them (and others) that were not."""

    dead: frozenset[str] = frozenset()
    returned: frozenset[str] = frozenset()


class SessionStore:
    def __init__(self, flusher: Router, clock: Clock) -> None:
        self._flusher = flusher
        self._clock = clock

    def add(self, *, incarnation: str, ttl_ms: int) -> Future[None]:
        """Before anything is leased to it."""
        return self._alive(keys.SESSIONS, [incarnation], ttl_ms)

    def renew(self, *, incarnation: str, ttl_ms: int) -> Future[bool]:
        """False: the incarnation is gone (SESSION_LOST)."""
        command = script("renew").command((keys.SESSIONS,), (incarnation, self._clock.now_ms() + ttl_ms))
        return self._flusher.submit(command, bool)

    def remove(self, *, incarnation: str) -> Future[None]:
        """What it still holds is released by the sweep."""
        return self._flusher.submit(("ZREM", keys.SESSIONS, incarnation), replies.nothing)

    def lose(self, *, incarnation: str) -> Future[None]:
        """Like `remove`, of one whose worker died: its losses are held against what it ran, for a day."""
        now_ms = self._clock.now_ms()
        for key in (keys.LOST, keys.RETURNED):
            self._flusher.submit(("ZREMRANGEBYSCORE", key, "-inf", now_ms - DAY_MS), replies.nothing)
        lost = script("set_scores").command((keys.LOST,), ("", now_ms, incarnation))
        self._flusher.submit(lost, replies.nothing)
        return self.remove(incarnation=incarnation)

    def returned(self, *, incarnation: str) -> Future[None]:
        """Its worker lives: it was taken for dead by mistake, which is held against nobody."""
        command = script("set_scores").command((keys.RETURNED,), ("", self._clock.now_ms(), incarnation))
        return self._flusher.submit(command, replies.nothing)

    async def lost(self) -> Losses:
        """Who was lost, and who came back, within a day."""
        lost = self._scores(keys.LOST)
        returned = self._scores(keys.RETURNED)
        return Losses(frozenset(await lost), frozenset(await returned))

    def snapshot(self) -> Future[dict[str, int]]:
        """Incarnation → expiry in ms, of all: `core.expiry` decides who is dead."""
        return self._scores(keys.SESSIONS)

    def renew_coordinator(self, *, coordinator_id: str, ttl_ms: int) -> Future[None]:
        """Takes part in sweeping until then; also how it joins."""
        return self._alive(keys.COORDINATORS, [coordinator_id], ttl_ms)

    def remove_coordinator(self, *, coordinator_id: str) -> Future[None]:
        """It goes, and its stream with it."""

        def removed(_: Reply) -> Again[None]:
            return Again(("UNLINK", keys.coordinator_stream(coordinator_id)), replies.nothing)

        return self._flusher.submit(("ZREM", keys.COORDINATORS, coordinator_id), removed)

    def coordinators(self) -> Future[dict[str, int]]:
        """Coordinator id → expiry in ms, of all that did not say goodbye."""
        return self._scores(keys.COORDINATORS)

    def record_handlers(
        self, *, namespace: str, queues: Iterable[str], handlers: Iterable[str], ttl_ms: int
    ) -> Future[None]:
        """Somebody serves these handlers in these queues, until now + ttl. Repeat it every ttl/3."""
        handlers = tuple(handlers)
        members = [keys.handler_member(namespace, queue, handler) for queue in queues for handler in handlers]
        return self._alive(keys.HANDLERS, members, ttl_ms)

    def serves(self, *, namespace: str, queue: str, handler: str) -> Future[bool]:
        """Does any session of any coordinator serve it?"""
        command = ("ZSCORE", keys.HANDLERS, keys.handler_member(namespace, queue, handler))
        now_ms = self._clock.now_ms()

        def decode(reply: Reply) -> bool:
            return reply is not None and float(reply) >= now_ms

        return self._flusher.submit(command, decode)

    def served(self, *, namespace: str) -> Future[list[tuple[str, str]]]:
        """The (queue, handler) pairs that are served now, in this namespace."""
        command = ("ZRANGE", keys.HANDLERS, self._clock.now_ms(), "+inf", "BYSCORE")
        prefix = f"{keys.escaped(namespace)}:"

        def decode(reply: list[bytes]) -> list[tuple[str, str]]:
            members = (member.decode() for member in reply)
            ours = (
                member.removeprefix(prefix).split(":", 1) for member in members if member.startswith(prefix)
            )
            return [(keys.unescaped(queue), handler) for queue, handler in ours]

        return self._flusher.submit(command, decode)

    def prune_handlers(self, *, before_ms: int) -> Future[None]:
        """Forget handlers that nobody has served since."""
        return self._flusher.submit(("ZREMRANGEBYSCORE", keys.HANDLERS, "-inf", before_ms), replies.nothing)

    def _alive(self, key: str, members: list[str], ttl_ms: int) -> Future[None]:
        if not members:
            return self._flusher.answer(None)
        until = self._clock.now_ms() + ttl_ms
        pairs = [part for member in members for part in (until, member)]
        command = script("set_scores").command((key,), ("", *pairs))
        return self._flusher.submit(command, replies.nothing)

    def _scores(self, key: str) -> Future[dict[str, int]]:
        return self._flusher.submit(("ZRANGE", key, 0, -1, "WITHSCORES"), _scores)


def _scores(reply: list[bytes]) -> dict[str, int]:
    return {member.decode(): int(float(score)) for member, score in zip(reply[::2], reply[1::2], strict=True)}
