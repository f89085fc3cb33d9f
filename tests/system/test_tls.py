"""A cluster that speaks TLS: who is not known is not let in, and a renewed certificate is taken up."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from aiki_client import Client, CoordinatorUnavailableError, SettingsError, Tls
from examples.local_cluster import LocalCluster
from tests.system import client_workflows as flows

MODULE = "tests.system.client_workflows"


@dataclass(frozen=True)
class Papers:
    """An authority, and what it signed."""

    folder: Path

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    def issue(self, name: str, ca: trustme.CA, *hosts: str) -> tuple[Path, Path]:
        """Certificate and key."""
        issued = ca.issue_cert(*hosts)
        cert, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        issued.private_key_pem.write_to_path(str(key))
        for number, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(str(cert), append=number > 0)
        return cert, key


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def papers(authority: trustme.CA, tmp_path: Path) -> Papers:
    made = Papers(tmp_path)
    authority.cert_pem.write_to_path(str(made.ca))
    return made


@pytest.fixture
def cluster(papers: Papers, authority: trustme.CA, tmp_path: Path) -> Iterator[LocalCluster]:
    """A coordinator that asks everybody for a certificate, and a worker that has one."""
    cert, key = papers.issue("server", authority, "127.0.0.1")
    own_cert, own_key = papers.issue("worker", authority, "worker")
    with LocalCluster(tmp_path / "cluster") as cluster:
        cluster.start_coordinator(
            options=("--tls-cert", str(cert), "--tls-key", str(key), "--tls-client-ca", str(papers.ca))
        )
        variables = {"AIKI_TLS_CA": papers.ca, "AIKI_TLS_CERT": own_cert, "AIKI_TLS_KEY": own_key}
        environment = {name: str(path) for name, path in variables.items()}
        cluster.start_worker("worker", MODULE, environment=environment)
        yield cluster


async def test_who_has_a_certificate_is_let_in(
    cluster: LocalCluster, papers: Papers, authority: trustme.CA
) -> None:
    """Client and worker alike; without one, or in the clear, nobody is."""
    cert, key = papers.issue("client", authority, "client")
    tls = Tls(ca=papers.ca, cert=cert, key=key)

    async with Client.connect(cluster.address, tls=tls) as client:
        run = await client.start(flows.buy, flows.Order(id="tea", amount=7))
        assert await run.result(timeout="30s") == "receipt for tea"
    for stranger in (None, Tls(ca=papers.ca)):
        with pytest.raises(CoordinatorUnavailableError):
            async with Client.connect(cluster.address, tls=stranger):
                pass


async def test_a_server_that_is_not_known_is_not_spoken_to(cluster: LocalCluster, papers: Papers) -> None:
    """Its certificate must come from the authority that is trusted."""
    other = trustme.CA()
    other.cert_pem.write_to_path(str(papers.folder / "other.pem"))
    cert, key = papers.issue("client", other, "client")

    with pytest.raises(CoordinatorUnavailableError):
        async with Client.connect(
            cluster.address, tls=Tls(ca=papers.folder / "other.pem", cert=cert, key=key)
        ):
            pass


async def test_a_renewed_certificate_is_taken_up(
    cluster: LocalCluster, papers: Papers, authority: trustme.CA
) -> None:
    """Without a restart: who connects from then on gets the new one."""
    cert, key = papers.issue("client", authority, "client")
    renewed = Tls(ca=papers.ca, cert=cert, key=key, server_name="renewed")
    with pytest.raises(CoordinatorUnavailableError):
        async with Client.connect(cluster.address, tls=renewed):
            pass

    papers.issue("server", authority, "renewed")
    os.utime(papers.folder / "server.pem")

    async with Client.connect(cluster.address, tls=renewed) as client:
        assert [run async for run in client.list()] == []


async def test_a_file_that_is_missing_is_named(papers: Papers, tmp_path: Path) -> None:
    """Before anybody is spoken to."""
    with pytest.raises(SettingsError, match=r"nowhere\.pem"):
        async with Client.connect("127.0.0.1:1", tls=Tls(ca=tmp_path / "nowhere.pem")):
            pass
    with pytest.raises(SettingsError, match="tls_cert and tls_key"):
        async with Client.connect("127.0.0.1:1", tls=Tls(cert=papers.ca)):
            pass
