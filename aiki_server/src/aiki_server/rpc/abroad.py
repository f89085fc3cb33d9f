"""Stealing between coordinators: one tells the others what its sessions hold and cannot begin, and who is idle wants some.

    surplus FROM       what waits there, by kind          want FROM COUNT    so much of it could begin here at once
    offer TO           it was given back: take it

All of it are hints: what is lost costs a while, what comes twice a grant that finds nothing. What was given back and not
taken is ready in the store, and found there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from aiki_server.core import placement
from aiki_server.core.matching import Lane
from aiki_server.core.runs import Attention, TaskAttention
from aiki_server.core.stealing import Peer

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub

WORDS: Final = frozenset({"surplus", "want", "offer"})
TELL_SECONDS: Final = 0.5
WANT_SECONDS: Final = 2.0
"""A want that was not met for this long counts no more: the other has told another one since, if it still holds."""
TOLD_MAX: Final = 1000


@dataclass(slots=True)
class _Want:
    coordinator_id: str
    lane: Lane
    idle: int
    until_s: float


class Abroad:
    """What other coordinators could begin at once. `others` are those that are alive."""

    def __init__(self, hub: Hub) -> None:
        self.others: Callable[[], Iterable[str]] = tuple
        self._hub = hub
        self._told_s: dict[Lane, float] = {}
        self._wants: dict[str, _Want] = {}

    def tell(self, lanes: Iterable[Lane]) -> None:
        """Work of these lanes waits here, and nobody here is idle."""
        now_s = time.monotonic()
        others = [name for name in self.others() if name != self._hub.coordinator_id]
        if len(self._told_s) > TOLD_MAX:
            self._told_s.clear()
        for lane in lanes if others else ():
            if now_s - self._told_s.get(lane, 0.0) < TELL_SECONDS:
                continue
            self._told_s[lane] = now_s
            for name in others:
                self._say(name, "surplus", self._hub.coordinator_id, 0, _pack(lane))

    def heard(self, word: str, rest: str) -> None:
        """What another one tells."""
        where, _, count, packed = rest.split(" ", 3)
        values: list[Any] = json.loads(unquote(packed))
        match word:
            case "surplus":
                lane = _lane(values)
                if (idle := self._idle(lane)) > 0:
                    self._say(where, "want", self._hub.coordinator_id, idle, _pack(lane))
            case "want":
                until_s = time.monotonic() + WANT_SECONDS
                self._wants[f"@{where} {packed}"] = _Want(where, _lane(values), int(count), until_s)
                self._hub.stealing.changed()
            case _:
                self._take(*values)

    def peers(self, *, tasks: bool) -> list[Peer]:
        """Those elsewhere that want something, as takers."""
        now_s = time.monotonic()
        self._wants = {
            name: want for name, want in self._wants.items() if want.until_s > now_s and want.idle > 0
        }
        return [
            Peer(name=name, idle=want.idle)
            for name, want in self._wants.items()
            if _is_task(want.lane) is tasks
        ]

    def fits(self, name: str, lane: Lane) -> bool:
        """Whether that one wants this."""
        return self._wants[name].lane == lane

    def asked_for(self, name: str) -> None:
        """Something is on its way there."""
        self._wants[name].idle -= 1

    def offer(self, name: str, what: Attention | TaskAttention) -> None:
        """It was given back for that one."""
        coordinator_id = name.removeprefix("@").partition(" ")[0]
        address = what.address if isinstance(what, TaskAttention) else ""
        values = [
            *(what.run_id, address, what.namespace, what.queue, what.handler),
            what.placement.encode(),
        ]
        self._say(coordinator_id, "offer", coordinator_id, 0, quote(json.dumps(values)))

    def _take(self, run_id: str, address: str, namespace: str, queue: str, handler: str, place: str) -> None:
        wanted = placement.decode(place)
        if address:
            self._hub.attend(TaskAttention(run_id, address, namespace, queue, handler, wanted))
        else:
            run = Attention(
                *(run_id, namespace, queue, handler, None, ""), stalled=False, fresh=True, placement=wanted
            )
            self._hub.attend(run)

    def _idle(self, lane: Lane) -> int:
        return sum(
            max(session.idle_tasks if _is_task(lane) else session.free_runs, 0)
            for session in self._hub.sessions.values()
            if session.profile.fits(lane)
        )

    def _say(self, coordinator_id: str, word: str, where: str, count: int, packed: str) -> None:
        # In four parts, since coordinators of before pass over only such words as they do not know.
        self._hub.tell(coordinator_id, f"{word} {where} - {count} {packed}")


def _pack(lane: Lane) -> str:
    return quote(
        json.dumps([lane.namespace, lane.queue, lane.handler, lane.priority, lane.labels, lane.slots])
    )


def _lane(values: list[Any]) -> Lane:
    namespace, queue, handler, priority, labels, slots = values
    return Lane(namespace, queue, handler, priority, tuple(labels), slots)


def _is_task(lane: Lane) -> bool:
    return lane.handler.startswith("t:")
