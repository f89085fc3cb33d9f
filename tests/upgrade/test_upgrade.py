"""A cluster changes its version under live runs, forwards and back, coordinators and workers in any order."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aiki_client import Client, Run, RunView
from aiki_server.store.embedded import EmbeddedValkey
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.upgrade import flows, previous

MODULE = "tests.upgrade.flows"

pytestmark = pytest.mark.skipif(
    not previous.is_checkout(), reason="no git checkout: no code of the last release"
)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of processes of the last release."""
    environment = previous.unpack(tmp_path_factory.mktemp("previous"))
    where = "import aiki.v1, aiki_client, aiki_server, aiki_worker; print(aiki.v1.__file__, aiki_client.__file__, aiki_server.__file__, aiki_worker.__file__)"
    shown = subprocess.run(
        [sys.executable, "-c", where], env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert all("previous" in path for path in shown.split()), shown
    return environment


class Rig:
    """A cluster on one store whose processes are of two versions, `first` and then `second`."""

    def __init__(self, cluster: LocalCluster, store: str, log: Path) -> None:
        self.cluster = cluster
        self.log = str(log)
        self._options = ("--store", store)

    def coordinator(self, name: str, environment: dict[str, str]) -> str:
        """Start one; its address."""
        return self.cluster.start_coordinator(name, options=self._options, environment=environment)

    def worker(self, name: str, address: str, environment: dict[str, str]) -> None:
        """Start one that knows one coordinator only."""
        self.cluster.address = address
        self.cluster.start_worker(name, MODULE, environment=environment)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("direction", ["upgrade", "downgrade"])
async def test_runs_go_on(direction: str, old: dict[str, str], tmp_path: Path) -> None:
    """Runs that began under one version end under the other, and no step of theirs runs twice.

    On the way each version's worker is served by the other's coordinator, and both coordinators share the store.
    """
    first, second = (old, {}) if direction == "upgrade" else ({}, old)
    async with EmbeddedValkey(tmp_path / "store") as store:
        with LocalCluster(tmp_path / "cluster", lease_ttl="5s") as cluster:
            rig = Rig(cluster, store.url, tmp_path / "log")
            before = rig.coordinator("before", first)
            rig.worker("first-at-before", before, first)
            async with Client.connect(before) as client:
                runs, cart = await begin(client, rig)
                rig.worker("second-at-before", before, second)
                cluster.stop("first-at-before")
                assert await quick(client, rig, 1000) == 11_000
            after = rig.coordinator("after", second)
            async with Client.connect(after) as client:
                rig.worker("first-at-after", after, first)
                cluster.stop("second-at-before")
                assert await quick(client, rig, 2000) == 22_000
                cluster.stop("before")
                rig.worker("second-at-after", after, second)
                cluster.stop("first-at-after")
                # Its worker is connected when this is over: a query waits a few seconds for one and no longer.
                assert await quick(client, rig, 3000) == 33_000
                await end(client, runs, cart)
                list_by_command(after, old)

    executed = Counter((tmp_path / "log").read_text(encoding="utf-8").splitlines())
    assert {count for what, count in executed.items()} == {1}, executed


async def begin(client: Client, rig: Rig) -> tuple[dict[str, int], str]:
    """Runs of every kind that wait, and what they are to return."""
    await client.start(flows.waits.with_(id="waits"), rig.log, 1)
    await client.start(flows.sleeps.with_(id="sleeps"), rig.log, 2)
    await client.start(flows.parent.with_(id="100"), rig.log, 100)
    cart = await client.start(flows.Cart.run.with_(id="cart"))
    assert await cart.update(flows.Cart.add, "tea") == 1

    async def all_wait() -> bool:
        return all([(await view(client, id_)).state.value == "waiting" for id_ in children_of_100()])

    await eventually(all_wait, "the children wait")
    return {
        "waits": 1 + 5 + 10,
        "sleeps": 2 + 20,
        "100": sum(n + 5 + 10 * n for n in (100, 101, 102)),
    }, "cart"


async def end(client: Client, runs: dict[str, int], cart: str) -> None:
    """Let all of them end, and look at what they return."""
    shopping = await client.run(cart, flows.Cart.run)
    assert await shopping.update(flows.Cart.add, "milk") == 2
    assert await shopping.query(flows.Cart.count) == 2
    for id_ in ("waits", "cart", *children_of_100()):
        await (await client.run(id_)).signal(flows.go, 5)
    for id_, expected in runs.items():
        run: Run[int] = await client.run(id_)
        assert await run.result(timeout="30s") == expected
    assert await shopping.result(timeout="30s") == ["tea", "milk"]


async def quick(client: Client, rig: Rig, number: int) -> int:
    """A run from its beginning to its end, on whoever is connected now."""
    run = await client.start(flows.quick.with_(id=f"quick-{number}"), rig.log, number)
    return await run.result(timeout="30s")


async def view(client: Client, id_: str) -> RunView:
    return await (await client.run(id_)).describe()


def children_of_100() -> list[str]:
    return [f"child-100-{index}" for index in range(3)]


def list_by_command(address: str, old: dict[str, str]) -> None:
    """The command of either version reads what is there."""
    for environment in (old, {}):
        shown = subprocess.run(
            [
                sys.executable,
                "-c",
                "from aiki_client.cli import main; raise SystemExit(main())",
                "run",
                "list",
                "--address",
                address,
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert "quick-1000" in shown.stdout
