"""Which session here gets what: the one that has the run cached, otherwise the idlest that fits.

Who fits, and whose turn it is among work that waits, is decided in `core.matching`. Nothing here is truth: the
store decides every grant. A match that comes to nothing costs a round trip.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from aiki_server.core.matching import Lane, Profile, lane_of
from aiki_server.core.runs import Attention, Begun, CacheMark, Fenced, Released, TaskAttention
from aiki_server.rpc.grants import Grants
from aiki_server.rpc.pools import Pool
from aiki_server.rpc.session import Session
from aiki_server.rpc.suspects import Suspects
from aiki_server.store import Stores

FITTING_MAX: Final = 10_000


def lane_at_once(about: Attention | TaskAttention) -> Lane:
    """The lane in which work is looked for first: what it prefers counts."""
    return lane_of(about.namespace, about.queue, about.handler, about.placement, prefer=True)


def lane_for_anyone(about: Attention | TaskAttention) -> Lane:
    """The lane of work that does not get what it prefers."""
    return lane_of(about.namespace, about.queue, about.handler, about.placement)


class Matching:
    """The sessions of this coordinator as takers of work.

    Attributes:
        credit_came: somebody may take more than before, or there is another lane.
        version: changes when another set of lanes may be served here.
    """

    def __init__(
        self, stores: Stores, released: Callable[[asyncio.Future[Released | Fenced | Begun]], None]
    ) -> None:
        self.credit_came = asyncio.Event()
        self.sessions: dict[str, Session] = {}
        self.suspects = Suspects(self.sessions, self._take_alone, self.credit_given)
        self.version = 0
        self.pools: dict[Profile, Pool] = {}
        self._grants = Grants(stores, self.credit_given, released, self.suspects.add)
        self._sticky: dict[str, Session] = {}
        self._fitting: dict[Lane, tuple[Pool, ...]] = {}
        self._lanes: frozenset[Lane] = frozenset()
        self._behind: frozenset[Lane] = frozenset()
        self.grant = self._grants.grant
        self.take = self._grants.take

    def add(self, session: Session) -> None:
        """A session is connected."""
        self.sessions[session.incarnation] = session
        pool = self.pools.get(session.profile)
        if pool is None:
            pool = self.pools[session.profile] = Pool(session.profile)
            self._changed()
        pool.sessions[session.incarnation] = session
        pool.opened(session)

    def remove(self, session: Session) -> None:
        """A session is not connected any more."""
        self.sessions.pop(session.incarnation, None)
        self.suspects.gone(session)
        pool = self.pools.get(session.profile)
        if pool is not None:
            pool.remove(session)
            if not pool.sessions:
                del self.pools[session.profile]
                self._changed()
        self.credit_came.set()
        self._sticky = {run_id: other for run_id, other in self._sticky.items() if other is not session}

    def credit_given(self, session: Session) -> None:
        """It may take more than before."""
        pool = self.pools.get(session.profile)
        if pool is not None and session.incarnation in pool.sessions:
            pool.opened(session)
        self.credit_came.set()

    def _take_alone(self, session: Session, about: TaskAttention) -> None:
        self.take(session, lane_for_anyone(about), about.run_id, about.address, alone=True)

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
        lane = lane_at_once(about)
        session = self.pick(lane, about.run_id)
        if session is None:
            return False
        self.grant(session, lane, about.run_id)
        return True

    def take_at_once(self, about: TaskAttention) -> bool:
        """Ask for a task for whoever is free; false when nobody here is."""
        lane = lane_at_once(about)
        session = self.pick(lane)
        if session is None:
            return False
        self.take(session, lane, about.run_id, about.address)
        return True

    def pick(self, lane: Lane, run_id: str = "") -> Session | None:
        """Who gets work that has just come up, before work that waits: nobody while some waits for the same credit."""
        pools = [pool for pool in self.fitting(lane) if not pool.is_behind[lane.is_of_tasks]]
        if not pools:
            return None
        near = self.near(run_id, lane)
        if near is not None:
            return near
        found = (session for pool in pools if (session := pool.best(lane)) is not None)
        return max(found, key=lambda session: session.free_for(lane), default=None)

    def near(self, run_id: str, lane: Lane) -> Session | None:
        """The session that has the run cached, if it has credit and still fits."""
        near = self._sticky.get(run_id)
        if near is None or near.free_for(lane) <= 0 or not near.profile.fits(lane):
            return None
        return near

    def fitting(self, lane: Lane) -> tuple[Pool, ...]:
        """The sessions that may get work of a lane."""
        pools = self._fitting.get(lane)
        if pools is None:
            if len(self._fitting) > FITTING_MAX:
                self._fitting.clear()
            pools = tuple(pool for pool in self.pools.values() if pool.profile.fits(lane))
            self._fitting[lane] = pools
        return pools

    def lanes_are(self, lanes: Collection[Lane]) -> None:
        """The lanes in use in the cluster."""
        known = frozenset(lanes)
        if known != self._lanes:
            self._lanes = known
            self.version += 1
            self.credit_came.set()

    def lane_used(self, lane: Lane) -> None:
        """Work was hinted there just now, by this coordinator."""
        if lane not in self._lanes:
            self.lanes_are({*self._lanes, lane})

    def served_lanes(self) -> list[Lane]:
        """The lanes that some session here fits: those of work that asks for nothing special, and those in use."""
        plain = {lane for profile in self.pools for lane in profile.plain_lanes()}
        return [*plain, *(lane for lane in self._lanes - plain if self.fitting(lane))]

    def behind_are(self, lanes: Iterable[Lane]) -> None:
        """The lanes in which work waits for credit of sessions here."""
        behind = frozenset(lanes)
        if behind != self._behind:
            self._behind = behind
            self._tell_behind()

    def _changed(self) -> None:
        self.version += 1
        self._fitting.clear()
        self._tell_behind()
        self.credit_came.set()

    def _tell_behind(self) -> None:
        for pool in self.pools.values():
            pool.is_behind = {False: False, True: False}
        for lane in self._behind:
            for pool in self.fitting(lane):
                pool.is_behind[lane.is_of_tasks] = True
