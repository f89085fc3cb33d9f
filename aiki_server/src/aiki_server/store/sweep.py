"""What a sweep of one partition looks at: the ready index, holders, closed runs past retention."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio import Future

    from aiki_server.core.runs import LeaseToken, ReadyEntry


class SweepStore:
    async def ready(self, *, partition: int, before_ms: int, count: int = 100) -> list[ReadyEntry]:
        """Entries last hinted before *before_ms*, oldest first; those of closed or gone runs are dropped here."""
        raise NotImplementedError

    def hinted(self, entries: list[ReadyEntry]) -> Future[None]:
        """These were hinted (or poked) again now: only entries that are still there change."""
        raise NotImplementedError

    def holders(self, *, partition: int) -> Future[list[str]]:
        """Incarnations that hold, or held, something here."""
        raise NotImplementedError

    async def held(self, *, partition: int, incarnation: str, count: int = 100) -> list[LeaseToken]:
        """Some of what it holds: release each, then ask again; empty: `forget_holder`."""
        raise NotImplementedError

    def forget_holder(self, *, partition: int, incarnation: str) -> Future[bool]:
        """Drop it from holders if it holds nothing."""
        raise NotImplementedError

    async def purge(self, *, partition: int, closed_before_ms: int, count: int = 10) -> int:
        """Delete up to *count* runs closed before then, in bounded steps; how many are gone."""
        raise NotImplementedError

    def next_due(self, *, partition: int) -> Future[int | None]:
        """When the partition's earliest timer is due, in ms."""
        raise NotImplementedError
