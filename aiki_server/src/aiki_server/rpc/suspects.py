"""Tasks that have lost leases run alone: on a session that has nothing else, and gets nothing else meanwhile.

A session is reserved first: it gets no more work, and the task once what it holds is over. Nothing here is truth: what
is forgotten is hinted again by the sweep, and the store refuses such a task to a session that is not reserved for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from aiki_server.core.matching import lane_of
from aiki_server.core.runs import TaskAttention
from aiki_server.rpc.session import Session

WAITING_MAX: Final = 1000
Thing = tuple[str, str]


class Suspects:
    """`take` asks for a task for a session that is to run it alone; `freed` is told when it may take other work again."""

    def __init__(
        self,
        sessions: Mapping[str, Session],
        take: Callable[[Session, TaskAttention], None],
        freed: Callable[[Session], None],
    ) -> None:
        self._sessions = sessions
        self._take = take
        self._freed = freed
        self._waiting: dict[Thing, TaskAttention] = {}
        self._reserved: dict[str, TaskAttention] = {}

    def add(self, about: TaskAttention) -> None:
        """This must run alone."""
        if len(self._waiting) < WAITING_MAX and about not in self._reserved.values():
            self._waiting[about.run_id, about.address] = about
            self.look()

    def look(self) -> None:
        """Reserve sessions for what waits; at most half of those that serve it, so that other work goes on."""
        for thing, about in list(self._waiting.items()):
            lane = lane_of(about.namespace, about.queue, about.handler, about.placement)
            serving = [
                session
                for session in self._sessions.values()
                if not session.draining and not session.closed and session.profile.fits(lane)
            ]
            free = [session for session in serving if not session.is_reserved]
            if not serving:
                # Somebody else may have one: the sweep hints it again.
                del self._waiting[thing]
            elif free and (len(serving) - len(free)) * 2 < len(serving):
                del self._waiting[thing]
                self._reserve(min(free, key=lambda session: session.holdings.count), about)

    def gone(self, session: Session) -> None:
        """The session is not connected any more; what it runs is for the sweep."""
        self._reserved.pop(session.incarnation, None)
        session.holdings.when_idle = None

    def _reserve(self, session: Session, about: TaskAttention) -> None:
        session.is_reserved = True
        self._reserved[session.incarnation] = about
        session.holdings.when_idle = partial(self._begin, session, about)
        if session.holdings.is_idle:
            self._begin(session, about)

    def _begin(self, session: Session, about: TaskAttention) -> None:
        session.holdings.when_idle = partial(self._over, session)
        self._take(session, about)

    def _over(self, session: Session) -> None:
        """It ended, or was not to be had."""
        session.holdings.when_idle = None
        session.is_reserved = False
        self._reserved.pop(session.incarnation, None)
        self._freed(session)
        self.look()
