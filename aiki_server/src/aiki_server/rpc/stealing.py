"""Asks sessions for what they have not begun, and gives it to those that are idle.

A yes is the ordinary Release of the lease, and what follows is the ordinary grant: everything here may be lost,
late or wrong, and the store still gives each thing to one holder at a time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from aiki.v1 import history_pb2, worker_pb2
from aiki_server.core.ids import task_handler
from aiki_server.core.matching import Lane, lane_of
from aiki_server.core.runs import Attention, Begun, Fenced, LeaseToken, Released, TaskAttention
from aiki_server.core.stealing import Move, Peer, Rules, Thing, plan
from aiki_server.rpc.abroad import Abroad
from aiki_server.rpc.matching import lane_for_anyone
from aiki_server.rpc.placements import placement_from_wire
from aiki_server.rpc.session import Session, lease_to_wire
from aiki_server.telemetry.metrics import STOLEN

if TYPE_CHECKING:
    from aiki_server.rpc.hub import Hub

ANSWER_SECONDS: Final = 5.0
"""A recall that is not answered for this long counts as refused; a Release that comes later is an ordinary one."""
PAIRS_MAX: Final = 10_000
ELSEWHERE: Final = "(another coordinator)"
"""Stands for the worker that got it, whose name is not known here."""
MOVED_MAX: Final = 100_000
PAUSE_SECONDS: Final = 0.005
LOOK_SECONDS: Final = 0.25
"""How often is looked when nothing changes and something could have moved, had anybody been idle."""
RECALLS_SINCE_REVISION: Final = 2
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Asked:
    victim: Session
    thief: str
    token: LeaseToken
    at_s: float


class Stealing:
    """Between the sessions of this coordinator, and from them to idle ones of others (names that begin with `@`)."""

    def __init__(self, hub: Hub, rules: Rules | None) -> None:
        self.rules = rules
        self.pairs: Counter[tuple[str, str]] = Counter()
        """How often a worker's work was given to another, by their names."""
        self.abroad = Abroad(hub)
        self._hub = hub
        self._changed = asyncio.Event()
        self._asked: OrderedDict[Thing, _Asked] = OrderedDict()
        self._moved_s: OrderedDict[Thing, float] = OrderedDict()

    def changed(self) -> None:
        """Somebody has credit, was given something, or has begun it."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled. While nobody holds anything that has not begun, this costs nothing."""
        if self.rules is None:
            return
        while True:
            await self._wait()
            self._changed.clear()
            self._give_up_on_answers()
            oldest_s = self._oldest_s()
            if oldest_s is not None and oldest_s + self.rules.after_s <= time.monotonic():
                for tasks in (True, False):
                    self._plan(self.rules, tasks=tasks)
            # What comes in a burst is looked at once.
            await asyncio.sleep(PAUSE_SECONDS)

    def joined(self, session: Session, before: Session | None, tokens: Iterable[LeaseToken]) -> None:
        """It says which of the leases it still holds have not begun; what they are for, the store knows."""
        session.load.changed = self.changed
        if before is not None:
            session.load.thefts = before.load.thefts
        for token in tokens:
            spec = self._hub.stores.tasks.spec(run_id=token.run_id, address=token.address)
            self._hub.when_done(spec, partial(self._unstarted, session, token))

    def _unstarted(self, session: Session, token: LeaseToken, found: tuple[bytes, int] | None) -> None:
        if found is not None:
            spec = history_pb2.TaskSpec.FromString(found[0])
            placement = placement_from_wire(spec.placement)
            lane = lane_of(session.namespace, spec.queue, task_handler(spec.task), placement)
            session.load.given(token, lane)

    def heard(self, session: Session, message: worker_pb2.WorkerMessage) -> None:
        """Take notice of what has begun."""
        if session.load.heard(message):
            self.changed()

    def refused(self, session: Session, ack: worker_pb2.RecallAck) -> None:
        """A holder keeps what it was asked for."""
        thing = (ack.lease.run_id, ack.lease.address)
        asked = self._asked.get(thing)
        if asked is None or asked.victim is not session or lease_to_wire(asked.token) != ack.lease:
            return
        session.load.gone(thing)
        name = worker_pb2.RecallAck.Refusal.Name(ack.refusal)
        self._no(thing, asked, name.removeprefix("REFUSAL_").lower())

    def released(
        self, session: Session, token: LeaseToken, future: asyncio.Future[Released | Fenced | Begun]
    ) -> None:
        """A lease was given back: to whom it was asked for, or to whoever is found."""
        thing = (token.run_id, token.address)
        session.load.gone(thing)
        session.assigned.pop(thing, None)
        asked = self._asked.get(thing)
        if asked is None or asked.token != token or asked.victim is not session:
            self._hub.released(future)
            return
        self._rest(thing)
        # Until it is given it counts against the idle slots of the thief.
        self._hub.when_done(future, partial(self._give, thing, asked), lambda _: self._forget(thing, asked))

    def _forget(self, thing: Thing, asked: _Asked) -> None:
        if self._asked.get(thing) is asked:
            del self._asked[thing]

    def _give(self, thing: Thing, asked: _Asked, answer: Released | Fenced | Begun) -> None:
        self._forget(thing, asked)
        if not isinstance(answer, Released):
            self._hub.attend_released(answer)
            return
        what = answer.attention
        is_to_go = isinstance(what, TaskAttention) or (what is not None and what.holder is None)
        thief = self._hub.sessions.get(asked.thief)
        if what is None or not is_to_go:
            self._hub.attend(what)
            return
        asked.victim.load.thefts.stolen_from += 1
        STOLEN.add(("task" if isinstance(what, TaskAttention) else "run",))
        if asked.thief.startswith("@"):
            self.abroad.offer(asked.thief, what)
            self._count_pair(asked.victim, ELSEWHERE)
        elif thief is None or thief.free_for(lane_for_anyone(what)) <= 0:
            self._hub.attend(what)
        else:
            thief.load.thefts.stolen_to += 1
            self._count_pair(asked.victim, thief.hello.identity)
            self._hand(thief, what)

    def _count_pair(self, victim: Session, thief: str) -> None:
        if len(self.pairs) < PAIRS_MAX:
            self.pairs[victim.hello.identity, thief] += 1

    def _hand(self, thief: Session, what: Attention | TaskAttention) -> None:
        if isinstance(what, TaskAttention):
            self._hub.matching.take(thief, lane_for_anyone(what), what.run_id, what.address)
        else:
            self._hub.matching.grant(thief, lane_for_anyone(what), what.run_id)

    async def _wait(self) -> None:
        """Until something has changed, or what may not move yet may."""
        assert self.rules is not None
        oldest_s = self._oldest_s()
        seconds = None
        if oldest_s is not None:
            young_s = oldest_s + self.rules.after_s - time.monotonic()
            seconds = young_s if young_s > 0 else LOOK_SECONDS
        try:
            async with asyncio.timeout(LOOK_SECONDS if self._asked else seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    def _oldest_s(self) -> float | None:
        """When the first of what has not begun was given."""
        times = (session.load.oldest_s for session in self._hub.sessions.values())
        return min((at for at in times if at is not None), default=None)

    def _peers(self, *, tasks: bool) -> list[Peer]:
        asked = Counter(item.thief for (_, address), item in self._asked.items() if bool(address) is tasks)
        here = [
            Peer(
                name=name,
                slots=session.hello.slots,
                idle=(session.idle_tasks if tasks else session.free_runs) - asked[name],
                unstarted=session.load.work(tasks=tasks) if _may_be_asked(session) else (),
            )
            for name, session in self._hub.sessions.items()
        ]
        return here + self.abroad.peers(tasks=tasks)

    def _plan(self, rules: Rules, *, tasks: bool) -> None:
        peers = self._peers(tasks=tasks)
        if not any(peer.unstarted for peer in peers):
            return
        sessions = self._hub.sessions

        def fits(name: str, lane: Lane) -> bool:
            if name.startswith("@"):
                return self.abroad.fits(name, lane)
            return sessions[name].profile.fits(lane)

        now_s = time.monotonic()
        for move in plan(peers, fits, now_s, rules, self._moved_s, self._asked):
            self._ask(move)
        waiting = (work for peer in peers for work in peer.unstarted if work.given_s + rules.after_s <= now_s)
        self.abroad.tell({work.lane for work in waiting if work.thing not in self._asked})

    def _ask(self, move: Move) -> None:
        victim = self._hub.sessions[move.victim]
        token = victim.load.token(move.work.thing)
        if token is None:
            return
        self._asked[move.work.thing] = _Asked(victim, move.thief, token, time.monotonic())
        if move.thief.startswith("@"):
            self.abroad.asked_for(move.thief)
        victim.load.thefts.recalled += 1
        recall = worker_pb2.Recall(lease=lease_to_wire(token), unstarted_only=True)
        victim.send(worker_pb2.CoordinatorMessage(recall=recall))

    def _give_up_on_answers(self) -> None:
        """Of those asked for long ago, and of those whose holder has gone."""
        old_s = time.monotonic() - ANSWER_SECONDS
        for thing, asked in list(self._asked.items()):
            if asked.victim.closed:
                del self._asked[thing]
            elif asked.at_s < old_s:
                self._no(thing, asked, "unanswered")

    def _no(self, thing: Thing, asked: _Asked, reason: str) -> None:
        del self._asked[thing]
        # It is not asked for again soon, whatever the reason.
        self._rest(thing)
        asked.victim.load.thefts.refused[reason] += 1
        self.changed()

    def _rest(self, thing: Thing) -> None:
        self._moved_s[thing] = time.monotonic()
        self._moved_s.move_to_end(thing)
        if len(self._moved_s) > MOVED_MAX:
            self._moved_s.popitem(last=False)


def _may_be_asked(session: Session) -> bool:
    return session.revision >= RECALLS_SINCE_REVISION and not session.closed and not session.draining
