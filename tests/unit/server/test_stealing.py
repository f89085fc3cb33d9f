"""Who steals what from whom: the decision, and a simulated cluster that follows it."""

import heapq
import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, strategies as st

from aiki_server.core.matching import Lane
from aiki_server.core.stealing import Move, Peer, Rules, Work, plan

JOB = Lane("default", "default", "t:job")
OTHER = Lane("default", "default", "t:other")
RULES = Rules(after_s=1.0, rest_s=10.0)


def works(*names: str, lane: Lane = JOB, given_s: float = 0.0) -> list[Work]:
    """Work that was given in this order."""
    return [Work((name, "a"), lane, given_s + number / 1000) for number, name in enumerate(names)]


def everybody(_name: str, _lane: Lane) -> bool:
    """Whoever it is can do whatever it is."""
    return True


def told(moves: Sequence[Move]) -> list[tuple[str, str, str]]:
    """Who is asked for what, for whom."""
    return [(move.victim, move.work.thing[0], move.thief) for move in moves]


def test_an_idle_one_gets_what_was_given_last() -> None:
    """The holder begins with what it was given first."""
    busy = Peer(name="busy", unstarted=works("one", "two", "three"))
    moves = plan([busy, Peer(name="idle", idle=2)], everybody, 5.0, RULES, {})

    assert told(moves) == [("busy", "three", "idle"), ("busy", "two", "idle")]


def test_nobody_idle_nothing_moves() -> None:
    """However unequal the rest is."""
    peers = [Peer(name="full", unstarted=works("a", "b", "c")), Peer(name="busy", idle=0)]

    assert plan(peers, everybody, 5.0, RULES, {}) == []


def test_credit_that_is_used_up_is_not_idle() -> None:
    """A negative number says that what is there waits already."""
    peers = [Peer(name="full", unstarted=works("a")), Peer(name="busy", idle=-3)]

    assert plan(peers, everybody, 5.0, RULES, {}) == []


def test_what_was_given_just_now_stays() -> None:
    """It may be about to begin."""
    peers = [Peer(name="busy", unstarted=works("old") + works("new", given_s=4.5)), Peer(name="idle", idle=5)]

    assert told(plan(peers, everybody, 5.0, RULES, {})) == [("busy", "old", "idle")]


def test_what_has_moved_rests() -> None:
    """So that it does not bounce; then it may move again."""
    peers = [Peer(name="busy", unstarted=works("one")), Peer(name="idle", idle=1)]

    assert plan(peers, everybody, 12.0, RULES, {("one", "a"): 3.0}) == []
    assert told(plan(peers, everybody, 13.0, RULES, {("one", "a"): 3.0})) == [("busy", "one", "idle")]


def test_what_is_asked_for_is_not_asked_for_again() -> None:
    """A recall travels as slowly as it likes."""
    peers = [Peer(name="busy", unstarted=works("one", "two")), Peer(name="idle", idle=2)]
    moves = plan(peers, everybody, 5.0, RULES, {}, {("two", "a")})

    assert told(moves) == [("busy", "one", "idle")]


def test_one_that_holds_something_itself_takes_nothing() -> None:
    """Its free slots are of no use to it: its loop is blocked, say."""
    stuck = Peer(name="stuck", idle=5, unstarted=works("mine"))
    peers = [stuck, Peer(name="busy", unstarted=works("one"))]

    assert plan(peers, everybody, 5.0, RULES, {}) == []


def test_one_that_does_not_get_to_its_free_slots_gives() -> None:
    """What it has not begun for so long, it will not begin soon."""
    peers = [Peer(name="stuck", idle=5, unstarted=works("one")), Peer(name="idle", idle=1)]

    assert told(plan(peers, everybody, 5.0, RULES, {})) == [("stuck", "one", "idle")]


def test_the_fullest_gives_first() -> None:
    """By rounds of its slots, not by number."""
    wide = Peer(name="wide", slots=10, unstarted=works("w1", "w2", "w3", "w4"))
    narrow = Peer(name="narrow", slots=1, unstarted=works("n1", "n2"))
    moves = plan([wide, narrow, Peer(name="idle", idle=2)], everybody, 5.0, RULES, {})

    assert told(moves) == [("narrow", "n2", "idle"), ("narrow", "n1", "idle")]


def test_the_idlest_takes_first() -> None:
    """Until they are equally idle."""
    busy = Peer(name="busy", unstarted=works(*"abcd"))
    moves = plan([busy, Peer(name="two", idle=2), Peer(name="three", idle=3)], everybody, 5.0, RULES, {})

    assert Counter(move.thief for move in moves) == {"two": 1, "three": 3} or Counter(
        move.thief for move in moves
    ) == {"two": 2, "three": 2}
    assert moves[0].thief == "three"


def test_only_who_can_do_it_gets_it() -> None:
    """Whatever else is idle."""
    busy = Peer(name="busy", unstarted=works("one", lane=OTHER) + works("two"))

    def fits(name: str, lane: Lane) -> bool:
        return name == "any" or lane == JOB

    moves = plan([busy, Peer(name="job", idle=5), Peer(name="any", idle=1)], fits, 5.0, RULES, {})

    assert sorted(told(moves)) == [("busy", "one", "any"), ("busy", "two", "job")]


def test_nothing_is_left_when_all_have_gone() -> None:
    """More slots than work is no error."""
    peers = [Peer(name="busy", unstarted=works("one")), Peer(name="idle", idle=50)]

    assert len(plan(peers, everybody, 5.0, RULES, {})) == 1


PEERS = st.lists(
    st.tuples(st.integers(1, 4), st.integers(-2, 4), st.lists(st.floats(0, 10), max_size=6)),
    min_size=1,
    max_size=6,
)


@given(PEERS, st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)))
def test_what_every_plan_keeps_to(
    drawn: list[tuple[int, int, list[float]]], rests: set[int], asks: set[int]
) -> None:
    """Nothing twice, nothing young, resting or asked for, and nobody gets more than it has idle slots."""
    number = itertools.count()
    peers = [
        Peer(
            name=f"p{index}",
            slots=slots,
            idle=idle,
            unstarted=[Work((str(next(number)), "a"), JOB, at) for at in sorted(given_at)],
        )
        for index, (slots, idle, given_at) in enumerate(drawn)
    ]
    moved = {(str(one), "a"): 5.0 for one in rests}
    asked = {(str(one), "a") for one in asks}
    moves = plan(peers, everybody, 10.0, RULES, moved, asked)

    by_name = {peer.name: peer for peer in peers}
    assert len({move.work.thing for move in moves}) == len(moves)
    for move in moves:
        assert move.work in by_name[move.victim].unstarted
        assert move.work.given_s + RULES.after_s <= 10.0
        assert move.work.thing not in moved
        assert move.work.thing not in asked
        assert all(work.given_s + RULES.after_s > 10.0 for work in by_name[move.thief].unstarted)
    for name, count in Counter(move.thief for move in moves).items():
        assert count <= by_name[name].idle
    old = [work for peer in peers for work in peer.unstarted if work.given_s + RULES.after_s <= 10.0]
    movable = [work for work in old if work.thing not in moved and work.thing not in asked]
    room = sum(peer.idle for peer in peers if peer.idle > 0 and not {*peer.unstarted} & {*old})
    assert len(moves) == min(len(movable), room)


@dataclass
class Simulated:
    """A worker: how many tasks it can run, what it runs, and what it holds besides."""

    slots: int
    running: int = 0
    waiting: list[Work] = field(default_factory=list[Work])


@dataclass
class Cluster:
    """Tasks that were given to workers at time 0; recalls take `latency_s` to be granted and moved."""

    workers: list[Simulated]
    sizes_s: dict[str, float]
    rules: Rules | None
    latency_s: float = 0.0
    now_s: float = 0.0
    moved_s: dict[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    moves: Counter[str] = field(default_factory=Counter[str])
    began: Counter[str] = field(default_factory=Counter[str])
    _events: list[tuple[float, int, str, int, Work | None]] = field(
        default_factory=list[tuple[float, int, str, int, Work | None]]
    )
    _coming: Counter[int] = field(default_factory=Counter[int])
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def makespan(self) -> float:
        """Run it to the end; when the last task is over."""
        over_s = 0.0
        if self.rules is not None:
            self._at(self.rules.after_s, "look", 0, None)
        self._turn()
        while self._events:
            self.now_s, _, what, where, work = heapq.heappop(self._events)
            if what == "over":
                self.workers[where].running -= 1
                over_s = self.now_s
            elif what == "comes" and work is not None:
                self._coming[where] -= 1
                self.workers[where].waiting.append(Work(work.thing, work.lane, self.now_s))
            self._turn()
        return over_s

    def _turn(self) -> None:
        for index, worker in enumerate(self.workers):
            while worker.waiting and worker.running < worker.slots:
                work = worker.waiting.pop(0)
                worker.running += 1
                self.began[work.thing[0]] += 1
                self._at(self.sizes_s[work.thing[0]], "over", index, work)
        if self.rules is None:
            return
        peers = [
            Peer(
                name=str(index),
                slots=worker.slots,
                idle=worker.slots - worker.running - self._coming[index],
                unstarted=worker.waiting,
            )
            for index, worker in enumerate(self.workers)
        ]
        for move in plan(peers, everybody, self.now_s, self.rules, self.moved_s):
            self.workers[int(move.victim)].waiting.remove(move.work)
            self.moved_s[move.work.thing] = self.now_s
            self.moves[move.work.thing[0]] += 1
            self._coming[int(move.thief)] += 1
            self._at(self.latency_s, "comes", int(move.thief), move.work)

    def _at(self, seconds: float, what: str, where: int, work: Work | None) -> None:
        heapq.heappush(self._events, (self.now_s + seconds, next(self._numbers), what, where, work))


CLUSTERS = st.lists(
    st.tuples(st.integers(1, 3), st.lists(st.floats(0.05, 3), max_size=12)), min_size=2, max_size=6
)


def a_cluster(drawn: list[tuple[int, list[float]]], rules: Rules | None, latency_s: float = 0.0) -> Cluster:
    """Workers with these slots, each given tasks of these sizes."""
    sizes_s: dict[str, float] = {}
    workers: list[Simulated] = []
    for slots, sizes in drawn:
        worker = Simulated(slots)
        for size in sizes:
            name = str(len(sizes_s))
            sizes_s[name] = size
            worker.waiting.append(Work((name, "a"), JOB, 0.0))
        workers.append(worker)
    return Cluster(workers, sizes_s, rules, latency_s)


@given(CLUSTERS)
def test_no_cluster_is_slower_for_stealing(drawn: list[tuple[int, list[float]]]) -> None:
    """Whatever was given to whom: all is done, each task once, and not later than without."""
    without = a_cluster(drawn, None).makespan()
    cluster = a_cluster(drawn, Rules(after_s=0.0, rest_s=1000.0))
    took = cluster.makespan()

    assert took <= without + 1e-6
    assert cluster.began == dict.fromkeys(cluster.sizes_s, 1)
    assert all(count == 1 for count in cluster.moves.values())


@given(CLUSTERS, st.floats(0.0, 0.2))
def test_a_slow_recall_costs_no_more_than_itself(
    drawn: list[tuple[int, list[float]]], latency_s: float
) -> None:
    """A task moves once, so that it begins later than without by the time of one recall at most."""
    without = a_cluster(drawn, None).makespan()
    cluster = a_cluster(drawn, Rules(after_s=0.1, rest_s=1000.0), latency_s)
    took = cluster.makespan()

    assert took <= without + latency_s + 1e-6
    assert cluster.began == dict.fromkeys(cluster.sizes_s, 1)
    assert all(count == 1 for count in cluster.moves.values())


def test_a_thousand_tasks_of_one_are_spread_evenly() -> None:
    """Eight workers are nearly eight times as fast as one."""
    drawn: list[tuple[int, list[float]]] = [(4, [0.1 + (number % 9) / 10 for number in range(1000)])]
    drawn += [(4, []) for _ in range(7)]
    without = a_cluster(drawn, None).makespan()
    took = a_cluster(drawn, Rules(after_s=0.1), latency_s=0.01).makespan()

    assert took < without / 7
