"""Sessions (incarnations), coordinators, and who serves which handler."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Iterable


class SessionStore:
    def add(self, *, incarnation: str, ttl_ms: int) -> Future[None]:
        raise NotImplementedError

    def renew(self, *, incarnation: str, ttl_ms: int) -> Future[bool]:
        """False: the incarnation is gone (SESSION_LOST)."""
        raise NotImplementedError

    def remove(self, *, incarnation: str) -> Future[None]:
        raise NotImplementedError

    def snapshot(self) -> Future[dict[str, int]]:
        """Incarnation → expiry in ms: all of `aiki:sessions`, for core.expiry."""
        raise NotImplementedError

    def renew_coordinator(self, *, coordinator_id: str, ttl_ms: int) -> Future[None]:
        raise NotImplementedError

    def remove_coordinator(self, *, coordinator_id: str) -> Future[None]:
        raise NotImplementedError

    def coordinators(self) -> Future[dict[str, int]]:
        """Coordinator id → expiry in ms."""
        raise NotImplementedError

    def record_handlers(
        self, *, namespace: str, queues: Iterable[str], handlers: Iterable[str], ttl_ms: int
    ) -> Future[None]:
        """Somebody serves these handlers in these queues, until now + ttl. Repeat it every ttl/3."""
        raise NotImplementedError

    def serves(self, *, namespace: str, queue: str, handler: str) -> Future[bool]:
        """Does any session of any coordinator serve it?"""
        raise NotImplementedError
