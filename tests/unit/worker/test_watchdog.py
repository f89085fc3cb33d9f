"""When a blocked loop is reported, and when it is given up."""

import asyncio
import logging
import threading

import pytest

from aiki_worker.watchdog import FROZEN_AFTER_TTLS, FROZEN_STATUS, Judge, Verdict, Watchdog


def test_reports_at_first_and_at_each_doubling() -> None:
    """Not with every look."""
    judge = Judge(report_after_s=4, give_up_after_s=100)
    looks = [judge.verdict(blocked_s) for blocked_s in range(1, 18)]

    assert [second for second, look in enumerate(looks, 1) if look is Verdict.REPORT] == [4, 8, 16]
    judge.answered()
    assert judge.verdict(4) is Verdict.REPORT


def test_three_ttls_are_survived_and_ten_are_not() -> None:
    """H10: a loop that is stuck for ever does not keep its leases."""
    judge = Judge.for_ttl(1.0)

    assert judge.verdict(3.5) is not Verdict.GIVE_UP
    assert judge.verdict(FROZEN_AFTER_TTLS * 1.0) is Verdict.GIVE_UP


async def test_blocked_loop_is_reported_and_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """With what blocks it and where; everything is let go before the end."""
    story: list[str] = []
    died = threading.Event()

    async def let_go() -> None:
        story.append("let go")

    def die(status: int) -> None:
        story.append(f"exit {status}")
        died.set()

    watchdog = Watchdog(asyncio.get_running_loop(), doing=lambda: "task 'charge'", let_go=let_go, die=die)
    with caplog.at_level(logging.WARNING):
        thread = threading.Thread(target=asyncio.run, args=(watchdog.watch(0.02),))
        thread.start()
        died.wait(10)  # what user code should not do
        thread.join()

    assert story == ["let go", f"exit {FROZEN_STATUS}"]
    assert "in task 'charge'" in caplog.text
    assert "died.wait(10)" in caplog.text


async def test_loop_that_answers_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Short pauses are nobody's business."""

    async def let_go() -> None:
        raise AssertionError

    watchdog = Watchdog(
        asyncio.get_running_loop(), doing=lambda: "nothing", let_go=let_go, die=lambda _: None
    )
    watching = asyncio.create_task(watchdog.watch(0.2))
    await asyncio.wait([watching], timeout=0.4)
    watching.cancel()

    assert "blocked" not in caplog.text
