"""A store that could lose acknowledged work, or is not ours, is refused with a sentence."""

from dataclasses import replace

import pytest

from aiki_server.store import StoreSettings, open_store
from aiki_server.store.errors import StoreUnsafeError
from aiki_server.store.guard import Facts, Guard, problems_of
from tests.support.store import PARTITIONS, call

SAFE = Facts(
    server="Valkey",
    version=(8, 1, 0),
    role="master",
    policy="noeviction",
    append_only=True,
    appendfsync="always",
)


def test_a_safe_store_has_no_problems() -> None:
    assert problems_of(SAFE, "fsync") == []
    assert problems_of(replace(SAFE, server="Redis", version=(7, 0, 15)), "fsync") == []
    assert problems_of(replace(SAFE, appendfsync="everysec"), "local") == []


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (replace(SAFE, version=(7, 0, 1)), "The store is Valkey 7.0.1"),
        (replace(SAFE, server="Redis", version=(6, 2, 0)), "needs Redis 7.0 or Valkey 7.2"),
        (replace(SAFE, role="slave"), "not a primary"),
        (replace(SAFE, policy="allkeys-lru"), "set it to noeviction"),
        (replace(SAFE, append_only=False), "set appendonly yes"),
        (replace(SAFE, appendfsync="everysec"), "set appendfsync always"),
        (replace(SAFE, appendfsync=None), "CONFIG GET is refused"),
    ],
)
def test_each_danger_has_its_sentence(facts: Facts, sentence: str) -> None:
    (problem,) = problems_of(facts, "fsync")
    assert sentence in problem


async def test_an_unsafe_store_is_served_only_when_told_to(store_url: str) -> None:
    """The setting that is wrong is named; `allow_unsafe` serves anyway."""
    settings = StoreSettings(url=store_url, partitions=PARTITIONS)
    await call(store_url, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "appendfsync", "everysec")
    try:
        with pytest.raises(StoreUnsafeError) as caught:
            async with open_store(settings):
                pass
        assert len({problem.split("(")[0] for problem in caught.value.problems}) == 2
        async with open_store(replace(settings, allow_unsafe=True)) as store:
            assert store.health.problems == []
        async with open_store(replace(settings, durability="local", allow_unsafe=True)):
            pass
    finally:
        await call(store_url, "CONFIG", "SET", "maxmemory-policy", "noeviction", "appendfsync", "always")


async def test_the_number_of_partitions_is_fixed(store_url: str) -> None:
    """Not even `allow_unsafe` changes it: runs would not be found."""
    async with open_store(StoreSettings(url=store_url, partitions=4)) as first:
        cluster_id = first.cluster_id
    with pytest.raises(StoreUnsafeError, match="has 4 partitions, not 8"):
        async with open_store(StoreSettings(url=store_url, partitions=8, allow_unsafe=True)):
            pass
    async with open_store(StoreSettings(url=store_url, partitions=4)) as again:
        assert again.cluster_id == cluster_id


async def test_another_schema_is_refused(store_url: str) -> None:
    await call(store_url, "HSET", "aiki:meta", "schema", "99", "partitions", "4", "cluster", "c")
    with pytest.raises(StoreUnsafeError, match="schema 99"):
        async with open_store(StoreSettings(url=store_url, partitions=4)):
            pass


async def test_a_known_store_that_is_suddenly_empty_is_refused(store_url: str) -> None:
    """So is one that is another cluster's all at once; also one that has lost only what it was."""
    async with open_store(StoreSettings(url=store_url, partitions=4)) as store:
        guard = Guard(store.flusher, partitions=4, durability="fsync")
        await guard.claim()
        await call(store_url, "FLUSHALL")
        with pytest.raises(StoreUnsafeError, match="is empty now"):
            await guard.claim()
        await Guard(store.flusher, partitions=4, durability="fsync").claim()
        with pytest.raises(StoreUnsafeError, match="another cluster"):
            await guard.claim()

        await store.sessions.renew_coordinator(coordinator_id="c", ttl_ms=1000)
        await call(store_url, "DEL", "aiki:meta")
    with pytest.raises(StoreUnsafeError, match="is empty now"):
        async with open_store(StoreSettings(url=store_url, partitions=4)):
            pass


async def test_the_clock_follows_the_store_and_never_goes_back(store_url: str) -> None:
    async with open_store(StoreSettings(url=store_url, partitions=4)) as store:
        now_ms = store.clock.now_ms()
        store.clock.heard(now_ms - 3_600_000)
        assert store.clock.now_ms() == now_ms
        store.clock.heard(now_ms + 3_600_000)
        assert store.clock.now_ms() >= now_ms + 3_600_000
