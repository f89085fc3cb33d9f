"""Which session here gets what: the one that has the run cached, otherwise the idlest that serves it.

Nothing here is truth: the store decides every grant. A match that comes to nothing costs a round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiki_server.core.runs import Attention, Begun, CacheMark, Fenced, Released, TaskAttention
from aiki_server.rpc.grants import Grants
from aiki_server.rpc.session import Session
from aiki_server.rpc.suspects import Suspects
from aiki_server.store import Stores


class Matching:
    """The sessions of this coordinator as takers of work. `credit_came`: somebody may take more than before."""

    def __init__(
        self, stores: Stores, released: Callable[[asyncio.Future[Released | Fenced | Begun]], None]
    ) -> None:
        self.credit_came = asyncio.Event()
        self.sessions: dict[str, Session] = {}
        self.suspects = Suspects(self.sessions, self._take_alone, self.credit_came)
        self._grants = Grants(stores, self.credit_came, released, self.suspects.add)
        self._sticky: dict[str, Session] = {}
        self.grant = self._grants.grant
        self.take = self._grants.take

    def add(self, session: Session) -> None:
        """A session is connected."""
        self.sessions[session.incarnation] = session

    def remove(self, session: Session) -> None:
        """A session is not connected any more."""
        self.sessions.pop(session.incarnation, None)
        self.suspects.gone(session)
        self.credit_came.set()
        self._sticky = {run_id: other for run_id, other in self._sticky.items() if other is not session}

    def _take_alone(self, session: Session, about: TaskAttention) -> None:
        self.take(session, about.run_id, about.address, alone=True)

    def keep_near(self, run_id: str, session: Session, mark: CacheMark) -> None:
        """The session has the run in its cache, as it stood then."""
        self._sticky[run_id] = session
        given_up = session.remember(run_id, mark)
        if given_up is not None and self._sticky.get(given_up) is session:
            del self._sticky[given_up]

    def forget_near(self, run_id: str, session: Session) -> None:
        """The run is over: nobody needs it cached."""
        session.cached.pop(run_id, None)
        self._sticky.pop(run_id, None)

    def grant_at_once(self, about: Attention) -> bool:
        """Ask for a run for whoever is free; false when nobody here is."""
        session = self.pick_for_hint(about.run_id, about.namespace, about.queue, about.handler, tasks=False)
        if session is None:
            return False
        self.grant(session, about.run_id)
        return True

    def take_at_once(self, about: TaskAttention) -> bool:
        """Ask for a task for whoever is free; false when nobody here is."""
        session = self._pick(about.namespace, about.queue, about.handler, tasks=True)
        if session is None:
            return False
        self.take(session, about.run_id, about.address)
        return True

    def pick_for_hint(
        self, run_id: str, namespace: str, queue: str, handler: str, *, tasks: bool
    ) -> Session | None:
        """The session that has the run cached, if it has credit; otherwise the idlest that serves it."""
        near = None if tasks else self._sticky.get(run_id)
        if near is not None and near.free_runs > 0:
            return near
        return self._pick(namespace, queue, handler, tasks=tasks)

    def pick(self, namespace: str, queue: str, handler: str) -> Session | None:
        """A session for a new run."""
        return self._pick(namespace, queue, handler, tasks=False)

    def _pick(self, namespace: str, queue: str, handler: str, *, tasks: bool) -> Session | None:
        best: Session | None = None
        most = (False, 0)
        for session in self.sessions.values():
            free = session.free_tasks if tasks else session.free_runs
            # One that would begin it at once comes before any that would have it wait.
            idle = session.idle_tasks if tasks else free
            rank = (idle > 0, max(idle, 0) or free)
            if free > 0 and rank > most and session.serves(namespace, queue, handler):
                best, most = session, rank
        return best
