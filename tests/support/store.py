"""A real store for tests: one embedded Valkey a test process, emptied for each test.

Import the fixtures into your `conftest.py`: `embedded_store` (the server), `store_address` (that one, or one
of yours), `store_url` (emptied), `store` (opened `Stores`).
"""

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest

from aiki_server.core.ids import run_id_for
from aiki_server.core.runs import Granted, IdPolicy, LeaseToken, Started, StartRun
from aiki_server.store import Stores, StoreSettings, open_store
from aiki_server.store.address import Address, Kind, Target
from aiki_server.store.connection import connect_caller
from aiki_server.store.embedded import EmbeddedValkey
from aiki_server.store.errors import StoreUnavailableError
from aiki_server.store.sentinel import Sentinels

PARTITIONS = 4
NAMESPACE = "tests"
INCARNATION = "coordinator.session.1"

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def embedded_store() -> Generator[EmbeddedValkey]:
    """A server that lives as long as this test process."""
    with tempfile.TemporaryDirectory(prefix="aiki-store-") as folder, asyncio.Runner() as runner:
        valkey = EmbeddedValkey(Path(folder))
        runner.run(valkey.__aenter__())
        yield valkey
        runner.run(valkey.__aexit__())


@pytest.fixture
def store_address(request: pytest.FixtureRequest) -> str:
    """Where the store is: what AIKI_TEST_STORE says, whose data is deleted, or an embedded one."""
    url = os.environ.get("AIKI_TEST_STORE", "")
    if url:
        return url
    valkey: EmbeddedValkey = request.getfixturevalue("embedded_store")
    return valkey.url


@pytest.fixture
async def store_url(store_address: str) -> str:
    """The address of a store with nothing in it."""
    await call(store_address, "FLUSHALL")
    return store_address


@pytest.fixture
async def store(store_url: str) -> AsyncGenerator[Stores]:
    """An empty store, opened."""
    async with open_store(StoreSettings(url=store_url, partitions=PARTITIONS)) as stores:
        yield stores


async def call(url: str, *command: str | bytes | int) -> object:
    """One command, on a connection of its own; in a Cluster on each primary, for the last answer that is none of MOVED."""
    answer: object = None
    for address in await _primaries(url):
        caller = await connect_caller(address)
        try:
            answer = await caller.call(*command)
        except StoreUnavailableError as error:
            if "MOVED" not in str(error):
                raise
        finally:
            caller.connection.abort()
    return answer


async def _primaries(url: str) -> list[Address]:
    target = Target.parse(url)
    if target.kind is Kind.SENTINEL:
        return [await Sentinels(target).find()]
    if target.kind is Kind.NODE:
        return list(target.addresses)
    caller = await connect_caller(target.addresses[0])
    try:
        ranges = await caller.call("CLUSTER", "SLOTS")
    finally:
        caller.connection.abort()
    nodes = {(node[0].decode(), node[1]) for _, _, node, *_ in ranges}
    return [target.addresses[0].at(host, port) for host, port in sorted(nodes)]


def a_start(
    workflow_id: str = "",
    request_id: str = "request",
    *,
    policy: IdPolicy = IdPolicy.EQUAL,
    input_hash: str = "hash",
) -> StartRun:
    """A run to start, of a workflow id of its own if none is given."""
    workflow_id = workflow_id or f"workflow-{next(_numbers)}"
    return StartRun(
        namespace=NAMESPACE,
        workflow_id=workflow_id,
        run_id=run_id_for(NAMESPACE, workflow_id, request_id, PARTITIONS),
        workflow="purchase",
        version="1",
        queue="default",
        input_hash=input_hash,
        policy=policy,
        started_event=b"started",
    )


async def a_run(store: Stores, workflow_id: str = "") -> str:
    """A run that was started; its id."""
    outcome = await store.runs.start(a_start(workflow_id))
    assert isinstance(outcome, Started)
    return outcome.run_id


async def a_grant(store: Stores, run_id: str, nonce: str = "nonce1") -> LeaseToken:
    """The run's lease, held by INCARNATION."""
    granted = await store.runs.grant(run_id=run_id, incarnation=INCARNATION, nonce=nonce)
    assert isinstance(granted, Granted)
    return granted.token
