"""What a session was given and has not begun, as far as its messages say, and what was stolen from and to it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from aiki.v1 import worker_pb2
from aiki_server.core.matching import Lane
from aiki_server.core.runs import LeaseToken
from aiki_server.core.stealing import Thing, Work

BEGINS = frozenset({"commit", "task_start", "task_report", "task_progress"})


@dataclass(slots=True)
class Thefts:
    """Counters of one session, kept while it stays with this coordinator.

    Attributes:
        stolen_from: what it gave back for others.
        stolen_to: what it got of others.
        recalled: what it was asked for.
        refused: what it kept, by reason.
    """

    stolen_from: int = 0
    stolen_to: int = 0
    recalled: int = 0
    refused: Counter[str] = field(default_factory=Counter[str])


@dataclass(frozen=True, slots=True)
class Unstarted:
    """A lease whose work has not begun."""

    token: LeaseToken
    lane: Lane
    given_s: float


class Load:
    """See the module."""

    def __init__(self) -> None:
        self.thefts = Thefts()
        self.changed: Callable[[], None] = _nobody
        self._unstarted: dict[Thing, Unstarted] = {}

    def given(self, token: LeaseToken, lane: Lane) -> None:
        """It is on its way there."""
        # Taken out first, so that what was given last stands last.
        thing = (token.run_id, token.address)
        self._unstarted.pop(thing, None)
        self._unstarted[thing] = Unstarted(token, lane, time.monotonic())
        self.changed()

    def gone(self, thing: Thing) -> None:
        """It has begun, or is held no longer."""
        self._unstarted.pop(thing, None)

    def heard(self, message: worker_pb2.WorkerMessage) -> bool:
        """Take notice of what *message* says has begun or was given back; whether it did."""
        kind = message.WhichOneof("kind")
        if not self._unstarted or kind not in BEGINS:
            return False
        lease = getattr(message, kind).lease
        return self._unstarted.pop((lease.run_id, lease.address), None) is not None

    def token(self, thing: Thing) -> LeaseToken | None:
        """Its lease, if it has not begun."""
        item = self._unstarted.get(thing)
        return None if item is None else item.token

    @property
    def oldest_s(self) -> float | None:
        """When the first of what has not begun was given."""
        return next((item.given_s for item in self._unstarted.values()), None)

    def work(self, *, tasks: bool) -> list[Work]:
        """The same for the decision: runs, or tasks."""
        return [
            Work(thing, item.lane, item.given_s)
            for thing, item in self._unstarted.items()
            if bool(thing[1]) is tasks
        ]


def _nobody() -> None:
    """Nobody wants to know."""
