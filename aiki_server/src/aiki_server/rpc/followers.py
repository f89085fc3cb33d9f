"""Who follows a run at another coordinator is told when its history grows here.

Hints only: whoever follows looks by itself as well, twice a second.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub

INTEREST_SECONDS: Final = 10.0
ASK_SECONDS: Final = 4.0
PAUSE_SECONDS: Final = 0.02
"""A run that grows faster is told of this often."""
FOLLOWED_MAX: Final = 10_000
FOLLOWING: Final = frozenset({"follow", "grew"})


class Followers:
    """Of runs that grow here, and at whose coordinators runs grow that are followed here."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._followed: dict[str, dict[str, float]] = {}
        self._asked: dict[str, float] = {}
        self._telling: set[str] = set()
        hub.waiters.when_grown = self.grew

    async def ask(self, run_id: str) -> None:
        """Have the other coordinators tell when the run grows; again and again, while it is followed."""
        now = time.monotonic()
        if self._asked.get(run_id, 0) > now:
            return
        self._asked = {run: until for run, until in self._asked.items() if until > now}
        self._asked[run_id] = now + ASK_SECONDS
        for coordinator_id in await self._hub.questions.forwarding.others():
            self._hub.tell(coordinator_id, f"follow {self._hub.coordinator_id} {run_id} . .")

    def grew(self, run_id: str) -> None:
        """The history of a run has grown here."""
        if run_id in self._followed and run_id not in self._telling:
            self._telling.add(run_id)
            asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._tell, run_id)

    def heard(self, kind: str, rest: str) -> None:
        """`follow COORDINATOR RUN . .`, or `grew` alike."""
        coordinator_id, run_id, *_ = rest.split(" ")
        if kind == "grew":
            self._hub.waiters.grew_elsewhere(run_id)
            return
        now = time.monotonic()
        if len(self._followed) >= FOLLOWED_MAX:
            self._followed = {
                run: followers for run, followers in self._followed.items() if max(followers.values()) > now
            }
        self._followed.setdefault(run_id, {})[coordinator_id] = now + INTEREST_SECONDS

    def _tell(self, run_id: str) -> None:
        self._telling.discard(run_id)
        now = time.monotonic()
        left = {name: until for name, until in self._followed.get(run_id, {}).items() if until > now}
        if left:
            self._followed[run_id] = left
        else:
            self._followed.pop(run_id, None)
        for coordinator_id in left:
            self._hub.tell(coordinator_id, f"grew {self._hub.coordinator_id} {run_id} . .")
