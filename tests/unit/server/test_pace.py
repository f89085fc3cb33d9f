"""How often partitions are looked over."""

from aiki_server.core.pace import (
    BUSY_SECONDS,
    CLAIM_SECONDS,
    CLAIM_SECONDS_MAX,
    NOTHING,
    QUIET_SECONDS,
    Look,
    next_claim_s,
    next_interval_s,
)

SLEEPING = Look(timer_ms=10**15, holders=("c.s.1",))


def test_quiet_partitions_are_looked_at_ever_more_seldom() -> None:
    """Until the limit; runs that sleep and workers that hold something are quiet."""
    intervals = [0.0]
    for _ in range(10):
        intervals.append(next_interval_s(intervals[-1], [NOTHING, SLEEPING], 30.0))

    assert intervals[1] == BUSY_SECONDS
    assert intervals == sorted(intervals)
    assert intervals[-1] == QUIET_SECONDS


def test_what_waits_is_looked_at_again_soon() -> None:
    """An effect on another partition, or something that needs attention."""
    assert next_interval_s(QUIET_SECONDS, [NOTHING, Look(outbox=1)], 30.0) == BUSY_SECONDS
    assert next_interval_s(QUIET_SECONDS, [Look(ready_ms=5), NOTHING], 30.0) == BUSY_SECONDS


def test_short_leases_are_looked_at_often() -> None:
    """What a dead session held is found within a lease TTL."""
    assert next_interval_s(5.0, [NOTHING], 1.0) == 1.0
    assert next_interval_s(5.0, [Look(outbox=1)], 0.9) == 0.3


def test_streams_with_nothing_to_claim_are_searched_ever_more_seldom() -> None:
    """Twice as long each time, until the limit; what was found brings the shortest pause back."""
    pauses = [0.0]
    for _ in range(6):
        pauses.append(next_claim_s(pauses[-1], found=False))

    assert pauses[1:4] == [CLAIM_SECONDS, CLAIM_SECONDS * 2, CLAIM_SECONDS * 4]
    assert pauses[-2:] == [CLAIM_SECONDS_MAX] * 2
    assert next_claim_s(CLAIM_SECONDS_MAX, found=True) == CLAIM_SECONDS
