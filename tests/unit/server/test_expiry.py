"""Who is dead."""

from hypothesis import given, strategies as st

from aiki_server.core.expiry import Expiry

TTL = 10.0
STEP = st.tuples(
    st.floats(0.1, 30),  # seconds that pass
    st.booleans(),  # whether the store answers
    st.integers(-60_000, 60_000),  # by how much its clock is off
)


def test_one_that_is_not_renewed_for_a_ttl_is_dead() -> None:
    """Once its time has passed and it was seen unchanged for that long."""
    expiry = Expiry(TTL)

    seen = [expiry.dead({"a": 10_000}, now_ms, now_ms / 1000) for now_ms in (0, 5_000, 9_000, 12_000)]

    assert seen == [[], [], [], ["a"]]


def test_one_that_is_seen_for_the_first_time_lives() -> None:
    """However long ago its time has passed: it may be about to renew."""
    assert Expiry(TTL).dead({"a": 0}, 1_000_000, 1000.0) == []


def test_an_outage_does_not_count() -> None:
    """A store that was away longer than the TTL has heard no renewals, and kills nobody."""
    expiry = Expiry(TTL)
    expiry.dead({"a": 10_000}, 5_000, 5.0)
    expiry.read_failed()

    assert expiry.dead({"a": 10_000}, 60_000, 60.0) == []
    assert expiry.dead({"a": 10_000}, 66_000, 66.0) == []
    assert expiry.dead({"a": 10_000}, 71_000, 71.0) == ["a"]


@given(st.lists(STEP, max_size=40))
def test_who_renews_is_never_dead(steps: list[tuple[float, bool, int]]) -> None:
    """Whatever the store's clock says, and however long it is away, a renewal within each TTL of reads saves."""
    expiry = Expiry(TTL)
    monotonic, readable, expires_ms = 0.0, 0.0, 0
    for passed, answers, off_ms in steps:
        monotonic += passed
        if not answers:
            expiry.read_failed()
            readable = 0.0
            continue
        readable += passed
        if readable >= TTL / 3:
            expires_ms += 1  # a renewal always changes the entry
            readable = 0.0
        now_ms = round(monotonic * 1000) + off_ms

        assert expiry.dead({"a": expires_ms}, now_ms, monotonic) == []
