"""Whether a task runs here, and when it is tried again."""

from datetime import timedelta

import pytest

from aiki_task import Retry, TaskOptions
from aiki_worker.cache import Mark, RunCache
from aiki_worker.clock import StoreClock
from aiki_worker.placement import Served, attempt_seconds, retry_at_ms

TRANSIENT = ValueError("try again")
SERVED = Served({"charge"}, {"default", "gpu"})


@pytest.mark.parametrize(
    ("task", "options", "here"),
    [
        ("charge", TaskOptions(), True),
        ("charge", TaskOptions(queue="gpu"), True),
        ("charge", TaskOptions(queue="other"), False),
        ("charge", TaskOptions(remote=True), False),
        ("unknown", TaskOptions(), False),
    ],
)
def test_task_runs_here_when_it_is_served(task: str, options: TaskOptions, here: bool) -> None:
    """Handler, queue and remote decide."""
    assert SERVED.runs_here(task, options) is here


def test_attempt_ends_at_the_nearer_limit() -> None:
    """Its own timeout or the task's deadline."""
    assert attempt_seconds(None, 0, 1000) is None
    assert attempt_seconds(timedelta(seconds=5), 0, 1000) == 5
    assert attempt_seconds(timedelta(seconds=5), 3000, 1000) == 2
    assert attempt_seconds(None, 3000, 4000) == 0


def test_retry_is_due_after_its_delay() -> None:
    """Until attempts, errors or the total timeout say no."""

    def due(
        error: BaseException = TRANSIENT, *, made: int = 1, deadline_ms: int = 0, final: bool = False
    ) -> int | None:
        options = TaskOptions(retry=Retry(3, first="1s", jitter=0.0, non_retryable=(KeyError,)))
        return retry_at_ms(
            options, error, final=final, attempts_made=made, now_ms=100, deadline_ms=deadline_ms, random=0.5
        )

    assert due() == 1100
    assert due(made=2) == 2100
    assert due(made=3) is None
    assert due(KeyError()) is None
    assert due(final=True) is None
    assert due(deadline_ms=1100) is None
    assert due(deadline_ms=1101) == 1100


class Engine:
    """Something to cache."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        self.closed = True


def test_cache_gives_back_what_the_mark_names() -> None:
    """H14: only at the length and under the epoch right after the release."""
    cache: RunCache[Engine] = RunCache(2)
    first, second = Engine(), Engine()
    cache.put("a", Mark(1, "n", 5), first)
    assert cache.take("a", epoch=2, first_index=5) is first
    assert cache.take("a", epoch=2, first_index=5) is None

    cache.put("a", Mark(1, "n", 5), first)
    assert cache.take("a", epoch=3, first_index=5) is None
    assert first.closed
    cache.put("a", Mark(1, "n", 5), second)
    assert cache.take("a", epoch=2, first_index=4) is None
    assert second.closed


def test_cache_drops_the_oldest() -> None:
    """And closes it."""
    cache: RunCache[Engine] = RunCache(1)
    first = Engine()
    cache.put("a", Mark(1, "n", 1), first)
    cache.put("b", Mark(1, "n", 1), Engine())

    assert first.closed
    assert len(cache) == 1


def test_store_clock_never_goes_back() -> None:
    """Not even when the store does."""
    now = 0.0
    clock = StoreClock(lambda: now, wall=1000.0)
    assert clock.now_ms() == 1_000_000
    clock.follow(2_000_000)
    now = 1.0
    assert clock.now_ms() == 2_001_000
    clock.follow(1_000_000)
    assert clock.now_ms() == 2_001_000
