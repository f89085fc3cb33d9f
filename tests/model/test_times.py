"""Holes that clocks make (H4, H10, H12): schedules of the product's pure code, and one small model."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from aiki_server.core.expiry import Expiry
from aiki_task.payloads import Payload
from aiki_worker.clock import StoreClock
from aiki_worker.watchdog import FROZEN_AFTER_TTLS, Judge, Verdict
from aiki_workflow import events, signal, workflow
from tests.model.checker import assert_broken, assert_clean
from tests.model.timers import TimerModel
from tests.unit.workflow.driver import make_engine, result_of, started

TTL_S = 12.0
TTL_MS = 12_000
RENEW_S = 4
SWEEP_S = 2


def by_score(snapshot: Mapping[str, int], now_ms: int) -> list[str]:
    """The rule that H4 is about: dead is whose score has passed."""
    return [name for name, expires_ms in snapshot.items() if expires_ms <= now_ms]


def test_h04_a_store_outage_expires_nobody() -> None:
    """Real code: an outage longer than the TTL; on return the sweep comes before the renewals."""
    sessions = {"a": TTL_MS, "b": TTL_MS}
    told, untold = Expiry(TTL_S), Expiry(TTL_S)
    for expiry in (told, untold):
        assert expiry.dead(sessions, 0, 0.0) == []
    told.read_failed()

    assert by_score(sessions, 32_000) == ["a", "b"]
    assert untold.dead(sessions, 32_000, 32.0) == ["a", "b"], "without the rule the outage counts"
    assert told.dead(sessions, 32_000, 32.0) == []
    renewed = {"a": 34_000 + TTL_MS, "b": TTL_MS}
    verdicts = [told.dead(renewed, 1000 * now, float(now)) for now in range(34, 46, SWEEP_S)]
    assert verdicts[:-1] == [[]] * 5
    assert verdicts[-1] == ["b"], "who did not come back is dead one TTL after the store did"


def test_h04_a_clock_that_jumps_ahead_expires_nobody() -> None:
    """Real code: a failover to a node 30 s ahead, between two renewals."""
    expiry = Expiry(TTL_S)
    sessions = {"a": TTL_MS, "b": 1_000 + TTL_MS}
    assert expiry.dead(sessions, 0, 0.0) == []

    assert by_score(sessions, 32_000) == ["a", "b"]
    assert expiry.dead(sessions, 32_000, 2.0) == []
    renewed = dict.fromkeys(sessions, 34000 + TTL_MS)
    assert expiry.dead(renewed, 36_000, 6.0) == []


def test_h04_a_sweeper_whose_clock_stays_ahead_does_not_expire_who_renews() -> None:
    """Real code: scores from a clock 30 s behind the sweeper's have always passed, and always change."""
    expiry = Expiry(TTL_S)
    ahead_ms = 30_000
    for now_s in range(0, 300, SWEEP_S):
        renewed_s = now_s - now_s % RENEW_S
        sessions = {"a": 1000 * renewed_s + TTL_MS}
        assert by_score(sessions, 1000 * now_s + ahead_ms) == ["a"]
        assert expiry.dead(sessions, 1000 * now_s + ahead_ms, float(now_s)) == []


def test_h04_who_renews_no_more_is_dead_within_two_ttls() -> None:
    """Real code: the rules above do not make anybody immortal."""
    expiry = Expiry(TTL_S)
    dead = [expiry.dead({"a": TTL_MS}, 1000 * now, float(now)) for now in range(0, 25, SWEEP_S)]
    assert ["a"] in dead


def test_h10_a_loop_that_is_stuck_for_ever_does_not_keep_its_leases() -> None:
    """Real code: the session thread renews for the stuck loop, so expiry never comes; the watchdog does."""
    expiry, judge = Expiry(TTL_S), Judge.for_ttl(TTL_S)
    verdicts: dict[int, Verdict] = {}
    for blocked_s in range(0, 20 * int(TTL_S), SWEEP_S):
        renewed_s = blocked_s - blocked_s % RENEW_S
        assert not expiry.dead({"a": 1000 * renewed_s + TTL_MS}, 1000 * blocked_s, float(blocked_s))
        verdicts[blocked_s] = judge.verdict(float(blocked_s))

    assert all(verdicts[at] is not Verdict.GIVE_UP for at in range(0, 3 * int(TTL_S) + 1, SWEEP_S))
    assert verdicts[FROZEN_AFTER_TTLS * int(TTL_S)] is Verdict.GIVE_UP


next_value = signal("next", int)


@workflow
async def clocked() -> list[float]:
    """What the clock said after each signal."""
    times: list[float] = []
    for _ in range(3):
        await next_value.wait()
        times.append(asyncio.get_running_loop().time())
    return times


def test_h12_the_clock_of_a_run_never_goes_back() -> None:
    """Real code: inputs in history order whose times go back, and the same history replayed."""
    history: list[events.Event] = [started(clocked, at=1_000)]
    history += [events.SignalReceived(at, "next", Payload(b"1")) for at in (3_000, 2_000, 4_000)]

    def run(inputs: list[events.Event]) -> list[float]:
        (end,) = make_engine(clocked).replay(inputs)
        times: list[float] = result_of(clocked, end)
        return times

    assert run(history) == [3.0, 3.0, 4.0]
    assert run(history) == run(history)
    stamped_again = [replace(event, at=event.at + 1) for event in history]
    assert run(stamped_again) != run(history), "an input that is stamped again is another input"


def test_h12_a_worker_never_stamps_an_earlier_time_than_before() -> None:
    """Real code: the store's clock, as a worker follows it, may be behind after a failover."""
    clock = StoreClock(monotonic=lambda: 0.0, wall=0.0)
    clock.follow(30_000)
    before_ms = clock.now_ms()
    clock.follow(0)
    assert clock.now_ms() >= before_ms == 30_000


def test_h12_a_timer_moved_to_later_does_not_fire_early() -> None:
    """Modelled: two coordinators, a move and a cancellation between read and fire; all states."""
    assert_broken(TimerModel(checked_when_fired=False), "it fired")
    assert assert_clean(TimerModel()).exhaustive
