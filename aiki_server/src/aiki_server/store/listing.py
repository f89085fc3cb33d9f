"""Listing runs, newest first, over all partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiki_server.core.runs import RunRecord, RunState


class ListingStore:
    async def page(
        self,
        *,
        namespace: str,
        size: int,
        token: str = "",
        workflow: str = "",
        states: Collection[RunState] = (),
    ) -> tuple[list[RunRecord], str]:
        """A page and the next token ("" at the end). Filters may make a page short, never wrong.

        Raises:
            ValueError: the token was not made here.
        """
        raise NotImplementedError

    async def stalled(self, *, partition: int, namespace: str, workflow: str, version: str) -> list[str]:
        """Run ids of stalled runs of one handler in a partition, at most 1,000."""
        raise NotImplementedError
