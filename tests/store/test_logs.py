"""Lines that code logged, in a real store."""

import pytest

from aiki_server.core.runs import LeaseToken
from aiki_server.store import Stores, keys
from aiki_server.store.logs import LINES_KEPT, LINES_MAX
from tests.support.store import a_grant, a_run, call

LINES = [(10, b"ten"), (5, b"five"), (20, b"twenty")]


async def test_lines_are_read_in_the_order_of_time(store: Stores) -> None:
    """From any point on."""
    token = await a_grant(store, await a_run(store))

    assert await store.logs.append(token, LINES)

    assert await store.logs.read(run_id=token.run_id, after_us=0, count=9) == [b"five", b"ten", b"twenty"]
    assert await store.logs.read(run_id=token.run_id, after_us=5, count=1) == [b"ten"]
    assert await store.logs.dropped(run_id=token.run_id) == 0


async def test_a_repeat_keeps_a_line_once(store: Stores) -> None:
    """As after a lost answer."""
    token = await a_grant(store, await a_run(store))

    await store.logs.append(token, LINES)
    await store.logs.append(token, LINES)

    assert len(await store.logs.read(run_id=token.run_id, after_us=0, count=9)) == 3


@pytest.mark.parametrize(("epoch", "nonce"), [(2, "nonce1"), (1, "other")])
async def test_a_stale_lease_adds_nothing(store: Stores, epoch: int, nonce: str) -> None:
    """What it did is not recorded either."""
    token = await a_grant(store, await a_run(store))

    assert not await store.logs.append(LeaseToken(token.run_id, "", epoch, nonce), LINES)
    assert await store.logs.read(run_id=token.run_id, after_us=0, count=9) == []


async def test_an_attempt_of_a_remote_task_is_not_fenced(store: Stores) -> None:
    """Its lease is not that of the run; but the run must be there."""
    token = await a_grant(store, await a_run(store))
    attempt = LeaseToken(token.run_id, "task/a", 7, "whatever")

    assert await store.logs.append(attempt, LINES)
    assert not await store.logs.append(LeaseToken(f"{token.run_id[:-3]}fff", "task/a", 7, "n"), LINES)


async def test_the_newest_lines_are_kept(store: Stores) -> None:
    """And it is known how many are gone."""
    token = await a_grant(store, await a_run(store))

    for first in range(0, LINES_KEPT + LINES_MAX, LINES_MAX):
        lines = [(number + 1, b"%d" % number) for number in range(first, first + LINES_MAX)]
        await store.logs.append(token, lines)

    left = await store.logs.read(run_id=token.run_id, after_us=0, count=LINES_KEPT + 1)
    assert len(left) == LINES_KEPT
    assert left[0] == b"%d" % LINES_MAX
    assert await store.logs.dropped(run_id=token.run_id) == LINES_MAX


async def test_logs_go_with_the_run(store_url: str, store: Stores) -> None:
    """The purge leaves none behind."""
    token = await a_grant(store, await a_run(store))
    await store.logs.append(token, LINES)
    record = await store.runs.get(namespace="tests", run_id=token.run_id)
    assert record is not None
    await store.control.terminate(record, b"terminated")

    partition = int(token.run_id.partition("-")[0])
    assert await store.sweep.purge(partition=partition, closed_before_ms=2**60, count=9) == 1

    assert await call(store_url, "EXISTS", keys.logs(token.run_id)) == 0
