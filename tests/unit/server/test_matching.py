"""Who fits, what lanes share, whose turn it is: pure decisions."""

from collections import Counter

import pytest
from hypothesis import given, strategies as st

from aiki_server.core.matching import PRIORITY_WEIGHTS, Lane, Profile, Turns, lane_of, shares
from aiki_server.core.placement import ANYWHERE, Placement, decode, problem

TASK = "t:job"
WORKER = Profile(
    "default",
    ("default", "gpu"),
    frozenset({TASK, "w:flow:1"}),
    frozenset({"gpu=a100", "zone=eu"}),
    4,
    (("gpu", 2),),
)


def lane(queue: str = "default", *, priority: int = 3, handler: str = TASK) -> Lane:
    """A lane of tasks."""
    return Lane("default", queue, handler, priority)


def served(turns: Turns, given_shares: dict[Lane, float], rounds: int) -> Counter[Lane]:
    """How often each was served in so many single servings."""
    count: Counter[Lane] = Counter()

    def take(one: Lane) -> int:
        if count.total() == rounds:
            return 0
        count[one] += 1
        return 1

    turns.deal(given_shares, take)
    return count


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        (Lane("default", "gpu", TASK), True),
        (Lane("default", "gpu", TASK, labels=("gpu=a100",)), True),
        (Lane("default", "gpu", TASK, labels=("gpu=a100", "zone=eu")), True),
        (Lane("default", "gpu", TASK, labels=("gpu=h100",)), False),
        (Lane("default", "default", TASK, slots=4), True),
        (Lane("default", "default", TASK, slots=5), False),
        (Lane("default", "gpu", TASK, slots=3), False),
        (Lane("default", "mail", TASK), False),
        (Lane("other", "gpu", TASK), False),
        (Lane("default", "gpu", "t:other"), False),
    ],
)
def test_a_worker_fits(asked: Lane, fits: bool) -> None:
    """Namespace, queue, handler, every label, and slots in all; of a queue with a limit, no more than that."""
    assert WORKER.fits(asked) is fits


def test_priorities_share_and_none_starves() -> None:
    """While all have work: 16 : 8 : 4 : 2 : 1."""
    lanes = [lane(priority=priority) for priority in range(1, 6)]

    count = served(Turns(), shares(lanes, {}), 310)

    assert [count[one] for one in lanes] == [160, 80, 40, 20, 10]


def test_the_first_priority_goes_first() -> None:
    """Of lanes that begin together."""
    order: list[int] = []

    def take(one: Lane) -> int:
        order.append(one.priority)
        return 0

    Turns().deal(shares([lane(priority=5), lane(priority=1), lane(priority=3)], {}), take)

    assert order == [1, 3, 5]


def test_queues_share_by_weight_whatever_their_priorities() -> None:
    """A queue with more handlers, or with urgent work, gets no more for it."""
    lanes = [lane("a"), lane("a", handler="t:other"), lane("b", priority=5)]

    count = served(Turns(), shares(lanes, {"a": 1, "b": 3}), 400)

    assert count[lanes[0]] + count[lanes[1]] == 100
    assert count[lanes[2]] == 300


def test_what_was_empty_has_saved_nothing_up() -> None:
    """A lane that comes back gets its share from then on, not what it did not use."""
    turns, busy, back = Turns(), lane("a"), lane("b")
    served(turns, shares([busy], {}), 1000)

    count = served(turns, shares([busy, back], {}), 100)

    assert abs(count[busy] - count[back]) <= 1


def test_one_item_at_a_time_is_no_way_to_more() -> None:
    """A lane of the last priority that has one thing each time gets no more than its share."""
    turns, first, last = Turns(), lane(priority=1), lane(priority=5)
    count: Counter[Lane] = Counter()
    for _ in range(1700):
        count += served(turns, shares([first, last], {}), 1)

    assert 80 <= count[last] <= 120


def test_what_takes_more_slots_comes_less_often() -> None:
    """Shares are of slots, not of things."""
    wide, narrow = lane("a"), lane("b")
    left, count = [400], Counter[Lane]()

    def take(one: Lane) -> int:
        cost = 4 if one is wide else 1
        if left[0] < cost:
            return 0
        left[0] -= cost
        count[one] += 1
        return cost

    Turns().deal(shares([wide, narrow], {}), take)

    assert abs(count[wide] * 4 - count[narrow]) <= 8


LANES = st.lists(
    st.builds(
        Lane,
        st.just("default"),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([TASK, "t:other"]),
        st.integers(1, 5),
    ),
    min_size=1,
    unique=True,
)


@given(LANES, st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 100)))
def test_shares_are_whole_and_nobody_has_none(lanes: list[Lane], weights: dict[str, int]) -> None:
    """Together they are everything there is."""
    found = shares(lanes, weights)

    assert found.keys() == set(lanes)
    assert sum(found.values()) == pytest.approx(1)
    assert min(found.values()) >= 1 / (300 * sum(PRIORITY_WEIGHTS.values()) * len(lanes))


@given(
    st.builds(
        Placement,
        priority=st.integers(1, 5),
        slots=st.integers(1, 9),
        labels=st.lists(st.sampled_from(["gpu=a100", "zone=eu"]), unique=True).map(
            lambda x: tuple(sorted(x))
        ),
        prefers=st.lists(st.sampled_from(["zone=us"]), unique=True).map(tuple),
    )
)
def test_a_placement_is_read_as_it_was_kept(placement: Placement) -> None:
    """And one that says nothing is kept as nothing."""
    assert decode(placement.encode()) == placement
    assert (placement.encode() == "") == (placement == ANYWHERE)


def test_what_is_preferred_is_asked_for_first() -> None:
    """Then it is left out; a run takes no slots."""
    placement = Placement(priority=2, slots=3, labels=("gpu=a100",), prefers=("zone=eu",))

    assert lane_of("n", "q", TASK, placement, prefer=True) == Lane(
        "n", "q", TASK, 2, ("gpu=a100", "zone=eu"), 3
    )
    assert lane_of("n", "q", "w:flow:1", placement) == Lane("n", "q", "w:flow:1", 2, ("gpu=a100",), 1)


@pytest.mark.parametrize(
    ("priority", "slots", "labels", "word"),
    [(6, 1, [], "priority"), (1, 200_000, [], "slots"), (1, 1, [("gpu", "")], "label"), (0, 0, [], "")],
)
def test_bad_placements_are_told(priority: int, slots: int, labels: list[tuple[str, str]], word: str) -> None:
    """With what is wrong, for whoever sent it."""
    assert word in problem(priority, slots, labels)
    assert bool(word) == bool(problem(priority, slots, labels))
