"""A store that is not what its address says is refused with a sentence that says what to do."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from aiki_server.core.matching import Lane
from aiki_server.store import StoreSettings, open_store
from aiki_server.store.errors import StoreError, StoreUnsafeError
from tests.cluster import servers
from tests.cluster.servers import ClusterOfServers, Server, Watched
from tests.support.store import call

PASSWORD = "open-sesame"
RIGHTS = (
    "~aiki:* ~{aiki:* resetchannels +@all -@dangerous -@admin "
    "+info +role +config|get +client|id +client|unblock +cluster|slots"
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterOfServers]:
    """Three primaries without replicas."""
    with servers.cluster(tmp_path_factory.mktemp("cluster"), replicas=0) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary without replicas, and three sentinels."""
    with servers.sentinels(tmp_path_factory.mktemp("sentinel"), replicas=0) as watched:
        yield watched


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server that speaks TLS only, asks for a certificate, and has a user with a password; and the folder of keys."""
    folder = tmp_path_factory.mktemp("tls")
    _make_keys(folder)
    port = servers.free_port()
    lines = (
        "port 0",
        f"tls-port {port}",
        f"tls-ca-cert-file {folder}/ca.pem",
        f"tls-cert-file {folder}/own.pem",
        f"tls-key-file {folder}/own.key",
        f"user aiki on >{PASSWORD} {RIGHTS}",
    )
    options = (
        "--tls",
        "--cacert",
        f"{folder}/ca.pem",
        "--cert",
        f"{folder}/own.pem",
        "--key",
        f"{folder}/own.key",
    )
    server = Server(folder / "server", (*servers.BASE, *lines), port=port, options=options)
    try:
        server.start()
        yield server, folder
    finally:
        server.kill()


async def refusal(url: str, **settings: str) -> str:
    """What opening the store raises; never with the password in it."""
    with pytest.raises((StoreError, ValueError)) as caught:
        async with open_store(StoreSettings(url=url, connect_seconds=8, **settings)):  # type: ignore[arg-type]  # text only
            pass
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def test_a_node_of_a_cluster_by_its_own_address(nodes: ClusterOfServers) -> None:
    """Nothing is written to it, whatever is allowed."""
    size = nodes.servers[0].ask("DBSIZE")
    assert "write redis+cluster://" in await refusal(f"redis://{nodes.servers[0].address}")
    assert nodes.servers[0].ask("DBSIZE") == size


async def test_a_single_server_as_a_cluster(watched: Watched) -> None:
    assert "is no Cluster: write redis://" in await refusal(f"redis+cluster://{watched.servers[0].address}")


async def test_an_unknown_master(watched: Watched) -> None:
    url = watched.url.replace("/aiki", "/other")
    assert "watches no master 'other'" in await refusal(url)


async def test_no_sentinel_at_all() -> None:
    port = servers.free_port()
    assert f"127.0.0.1:{port} cannot be reached" in await refusal(f"redis+sentinel://127.0.0.1:{port}/aiki")


async def test_a_master_without_the_replicas_that_are_wanted(watched: Watched) -> None:
    told = await refusal(watched.url, durability="replicated")
    assert "has 0 replicas" in told
    assert "set min-replicas-to-write 1" in told


async def test_two_clusters_with_different_partitions(nodes: ClusterOfServers) -> None:
    """On a Cluster the default is 1024; the first to come decides."""
    await call(nodes.url, "FLUSHALL")
    async with open_store(StoreSettings(url=nodes.url)) as store:
        assert store.partitions == 1024
    with pytest.raises(StoreUnsafeError, match="has 1024 partitions, not 64"):
        async with open_store(StoreSettings(url=nodes.url, partitions=64)):
            pass


async def test_one_evicting_node_is_named(nodes: ClusterOfServers) -> None:
    odd = nodes.servers[1]
    odd.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        told = await refusal(nodes.url)
        assert "set it to noeviction" in told
        assert odd.address in told
    finally:
        odd.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_tls_and_a_user(guarded: tuple[Server, Path]) -> None:
    """With all that it takes, the least rights of the documentation are enough."""
    server, keys = guarded
    files = f"?ca={keys}/ca.pem&cert={keys}/own.pem&key={keys}/own.key"
    async with open_store(StoreSettings(url=f"rediss://aiki:{PASSWORD}@{server.address}{files}")) as store:
        await store.sessions.add(incarnation="i", ttl_ms=1000)
        assert set(await store.sessions.snapshot()) == {"i"}
        async with store.queues.reader(coordinator_id="c") as reader:
            stream = store.queues.stream(Lane("n", "q", "h"))
            assert await reader.read([stream], count=1, block_ms=1) == []
    settings = StoreSettings(
        url=f"rediss://wrong:wrong@{server.address}{files}", user="aiki", password=PASSWORD
    )
    async with open_store(settings):
        pass


async def test_what_is_wrong_with_tls_or_the_user(guarded: tuple[Server, Path]) -> None:
    server, keys = guarded
    at = f"aiki:{PASSWORD}@{server.address}"
    ca, own = f"ca={keys}/ca.pem", f"cert={keys}/own.pem&key={keys}/own.key"
    assert "name its CA with ?ca=PATH" in await refusal(f"rediss://{at}?{own}")
    assert "?cert=PATH&key=PATH" in await refusal(f"rediss://{at}?{ca}")
    assert "refuses the user name or password" in await refusal(
        f"rediss://aiki:x@{server.address}?{ca}&{own}"
    )
    assert "rediss://" in await refusal(f"redis://{at}")
    (keys / "empty.pem").touch()
    assert "TLS files cannot be used" in await refusal(f"rediss://{at}?ca={keys}/empty.pem")


async def test_tls_where_there_is_none(watched: Watched) -> None:
    assert "does it speak TLS?" in await refusal(f"rediss://{watched.servers[0].address}")


def _make_keys(folder: Path) -> None:
    """An authority, and one certificate for 127.0.0.1 that server and client share."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)

    authority = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test authority")
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    openssl(*authority, *usage, "-keyout", "ca.key", "-out", "ca.pem")
    openssl(
        "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=store", "-keyout", "own.key", "-out", "own.csr"
    )
    (folder / "own.ext").write_text("subjectAltName=IP:127.0.0.1\n", encoding="ascii")
    signing = ("x509", "-req", "-in", "own.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    openssl(*signing, "-days", "2", "-extfile", "own.ext", "-out", "own.pem")
