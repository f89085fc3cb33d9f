"""Sessions that are interchangeable: same handlers, queues and labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from aiki_server.core.matching import Lane, Profile, Turns
from aiki_server.rpc.session import Session

LOOK_MAX: Final = 16
"""Sessions that are compared for one grant, so that it costs the same however many there are."""
READ_MAX: Final = 100


class Pool:
    """Invariant: a session that has credit is among the `_open` of that kind; others may be, for a while."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.sessions: dict[str, Session] = {}
        self.turns = {False: Turns(), True: Turns()}
        self.is_behind = {False: False, True: False}
        self._open: dict[bool, dict[str, Session]] = {False: {}, True: {}}

    def opened(self, session: Session) -> None:
        """It may have more credit than before."""
        if session.free_runs > 0:
            self._open[False][session.incarnation] = session
        if session.free_tasks > 0:
            self._open[True][session.incarnation] = session

    def remove(self, session: Session) -> None:
        """It has gone."""
        self.sessions.pop(session.incarnation, None)
        for sessions in self._open.values():
            sessions.pop(session.incarnation, None)

    def best(self, lane: Lane) -> Session | None:
        """The idlest of a few that have credit for it; one that would begin at once before any that has it wait."""
        best: Session | None = None
        most = (False, 0)
        looked = 0
        for session in self._with_credit(lane):
            free = session.free_for(lane)
            idle = min(free, session.idle_tasks) if lane.is_of_tasks else free
            rank = (idle > 0, max(idle, 0) or free)
            if free > 0 and rank > most:
                best, most = session, rank
            looked += free > 0
            if looked == LOOK_MAX:
                break
        return best

    def free(self, lane: Lane) -> int:
        """The credit there is for a lane, counted up to what is read at a time."""
        free = 0
        for session in self._with_credit(lane):
            free += max(session.free_for(lane), 0)
            if free >= READ_MAX:
                break
        return free

    def _with_credit(self, lane: Lane) -> Iterator[Session]:
        """Those that have some, of whatever queue; the others are forgotten on the way."""
        is_of_tasks = lane.is_of_tasks
        open_ = self._open[is_of_tasks]
        spent: list[str] = []
        for name, session in open_.items():
            if (session.free_tasks if is_of_tasks else session.free_runs) > 0:
                yield session
            else:
                spent.append(name)
        for name in spent:
            del open_[name]
