"""Work that nobody here takes at once waits in the stream of its lane.

What prefers labels waits for a worker that has them, for a short time, and then for anyone. Should this coordinator
die meanwhile, the sweep of another hints it for anyone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from aiki_server.core.matching import Lane
from aiki_server.core.runs import Attention, TaskAttention
from aiki_server.rpc.answers import when_done
from aiki_server.rpc.matching import Matching, lane_at_once
from aiki_server.store import Stores

PREFER_SECONDS: Final = 1.0


def for_anyone(about: Attention | TaskAttention) -> Attention | TaskAttention:
    """The same work, without what it prefers."""
    if not about.placement.prefers:
        return about
    return replace(about, placement=replace(about.placement, prefers=()))


class Hinting:
    """`attend` is asked again for what did not get what it prefers."""

    def __init__(
        self, stores: Stores, matching: Matching, attend: Callable[[Attention | TaskAttention], None]
    ) -> None:
        self._stores = stores
        self._matching = matching
        self._attend = attend
        self._patient: set[asyncio.TimerHandle] = set()

    def hint(self, about: Attention | TaskAttention) -> None:
        """Put it into its stream."""
        lane = lane_at_once(about)
        self._matching.lane_used(lane)
        hinted = self._stores.queues.hint(lane, about)
        if about.placement.prefers:
            when_done(hinted, lambda entry_id: self._wait(lane, entry_id, about))
        else:
            when_done(hinted, lambda _: None)

    def close(self) -> None:
        """Wait for nothing any more; the sweep of another does."""
        for handle in self._patient:
            handle.cancel()
        self._patient.clear()

    def _wait(self, lane: Lane, entry_id: str, about: Attention | TaskAttention) -> None:
        def give_up() -> None:
            self._patient.discard(handle)
            when_done(self._stores.queues.withdraw(lane, entry_id), lambda _: None)
            self._attend(for_anyone(about))

        handle = asyncio.get_running_loop().call_later(PREFER_SECONDS, give_up)
        self._patient.add(handle)
