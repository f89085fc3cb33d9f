"""How coordinators share the partitions among them, without talking."""

from hypothesis import given, strategies as st

from aiki_server.core.sharing import share_of

NAMES = st.sets(st.text("abcdef0123456789", min_size=1, max_size=8), min_size=1, max_size=8)
PARTITIONS = 64


@given(NAMES)
def test_every_partition_is_swept_by_one(names: set[str]) -> None:
    """All of them agree, so that nothing is left out and nothing is done twice."""
    shares = [partition for name in names for partition in share_of(name, names, PARTITIONS)]

    assert sorted(shares) == list(range(PARTITIONS))


@given(NAMES, st.data())
def test_only_the_share_of_the_one_that_goes_moves(names: set[str], data: st.DataObject) -> None:
    """Whoever stays keeps what it had."""
    gone = data.draw(st.sampled_from(sorted(names)))
    left = names - {gone}

    for name in left:
        assert set(share_of(name, names, PARTITIONS)) <= set(share_of(name, left, PARTITIONS))


def test_a_coordinator_counts_itself() -> None:
    """Even when the store does not list it (yet)."""
    assert share_of("a", [], PARTITIONS) == list(range(PARTITIONS))


def test_shares_are_about_equal() -> None:
    """With four coordinators each sweeps something like a quarter."""
    names = ["one", "two", "three", "four"]

    assert all(8 <= len(share_of(name, names, PARTITIONS)) <= 24 for name in names)
