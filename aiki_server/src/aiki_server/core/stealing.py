"""Who gives what to whom, when some have slots in which nothing runs and others hold work they have not begun.

Pure decisions. Invariants: only slots in which nothing runs are filled, so what moves begins no later than it
would have; what has moved stays where it is for `Rules.rest_s`, so that work does not bounce; nobody gives and
takes in one plan.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiki_server.core.matching import Lane

Thing = tuple[str, str]
"""Run id and address; the address is empty for the run itself."""
PLAN_MOVES_MAX: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When work may move.

    Attributes:
        after_s: work that its holder was given this recently is left alone, since it may be about to begin.
        rest_s: work that has moved is left alone for this long.
    """

    after_s: float = 0.1
    rest_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Work:
    """Something a peer was given and has not begun."""

    thing: Thing
    lane: Lane
    given_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One that may give or take. `idle` are slots in which nothing runs and for which nothing is on its way."""

    name: str
    slots: int = 1
    idle: int = 0
    unstarted: Sequence[Work] = ()


@dataclass(frozen=True, slots=True)
class Move:
    """Ask `victim` for `work`, for `thief`."""

    victim: str
    thief: str
    work: Work


@dataclass(slots=True)
class _Thief:
    name: str
    idle: int


@dataclass(slots=True)
class _Victim:
    name: str
    slots: int
    left: int
    by_lane: dict[Lane, list[Work]] = field(default_factory=dict[Lane, list[Work]])

    @property
    def load(self) -> float:
        """How many rounds of its slots it would take to begin all that is left."""
        return self.left / max(self.slots, 1)


def plan(
    peers: Iterable[Peer],
    fits: Callable[[str, Lane], bool],
    now_s: float,
    rules: Rules,
    moved_s: Mapping[Thing, float],
    asked: Collection[Thing] = (),
) -> list[Move]:
    """What is to move now.

    The fullest gives first, and what it was given last; who has most idle slots takes first.

    Args:
        peers: each once; their `idle` without what is asked for on their behalf already.
        fits: whether the peer of this name could do work of this lane.
        now_s: on the same clock as `Work.given_s` and *moved_s*.
        rules: see there.
        moved_s: when things were last moved; those that are not there never were.
        asked: what is being asked for already.
    """
    thieves, victims = _sides(peers, now_s, rules, moved_s, asked)
    moves: list[Move] = []
    while thieves and victims and len(moves) < PLAN_MOVES_MAX:
        thief = max(thieves, key=lambda one: (one.idle, one.name))
        move = _take(thief, victims, fits)
        if move is None:
            thieves.remove(thief)
            continue
        moves.append(move)
        thief.idle -= 1
        if not thief.idle:
            thieves.remove(thief)
    return moves


def _sides(
    peers: Iterable[Peer],
    now_s: float,
    rules: Rules,
    moved_s: Mapping[Thing, float],
    asked: Collection[Thing],
) -> tuple[list[_Thief], list[_Victim]]:
    thieves: list[_Thief] = []
    victims: list[_Victim] = []
    for peer in peers:
        # One with work that has waited does not get to its slots, whatever it says of them.
        is_stuck = any(work.given_s + rules.after_s <= now_s for work in peer.unstarted)
        if peer.idle > 0 and not is_stuck:
            thieves.append(_Thief(peer.name, peer.idle))
            continue
        victim = _Victim(peer.name, peer.slots, len(peer.unstarted))
        for work in peer.unstarted:
            if work.thing not in asked and _movable_s(work, rules, moved_s) <= now_s:
                victim.by_lane.setdefault(work.lane, []).append(work)
        if victim.by_lane:
            victims.append(victim)
    return thieves, victims


def _movable_s(work: Work, rules: Rules, moved_s: Mapping[Thing, float]) -> float:
    rested = work.given_s + rules.after_s
    moved = moved_s.get(work.thing)
    return rested if moved is None else max(rested, moved + rules.rest_s)


def _take(thief: _Thief, victims: list[_Victim], fits: Callable[[str, Lane], bool]) -> Move | None:
    for victim in sorted(victims, key=lambda one: (-one.load, one.name)):
        fitting = [lane for lane in victim.by_lane if fits(thief.name, lane)]
        if not fitting:
            continue
        lane = max(fitting, key=lambda one: victim.by_lane[one][-1].given_s)
        work = victim.by_lane[lane].pop()
        victim.left -= 1
        if not victim.by_lane[lane]:
            del victim.by_lane[lane]
            if not victim.by_lane:
                victims.remove(victim)
        return Move(victim.name, thief.name, work)
    return None
