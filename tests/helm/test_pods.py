"""The rendered pods run: their commands, arguments, environment, volumes, users and probes, against a real store."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.helm.chart import CHART, MATRIX, Manifest, of_kind, pods, render, render_values
from tests.helm.pods import Cluster, Pod

IS_ROOT_ON_LINUX = sys.platform == "linux" and os.geteuid() == 0
container = pytest.mark.skipif(not IS_ROOT_ON_LINUX, reason="containers are made by root, on Linux")
PROBES = ("startup", "liveness", "readiness")
SMALL = {
    "coordinator": {"leaseTtlSeconds": 3, "preStopSeconds": 1},
    "workers": {
        "default": {
            "modules": ["tests.system.first_workflows"],
            "env": [{"name": "PYTHONPATH", "value": str(Path(__file__).parents[2])}],
        }
    },
}


def cluster_of(manifests: list[Manifest], folder: Path, **secrets: dict[str, str]) -> Cluster:
    return Cluster(manifests, folder, {name.replace("_", "-"): held for name, held in secrets.items()})


def template(manifests: list[Manifest], name: str) -> Manifest:
    return dict(pods(manifests))[name]


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that others may enter."""
    folder = tmp_path_factory.mktemp("pods")
    for parent in [folder, *folder.parents]:
        if parent != Path("/") and parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o055)
    return folder


@pytest.fixture
def trial(short: Path) -> Iterator[tuple[Cluster, Pod, list[Pod], Pod]]:
    """The trial of the chart: its store, two coordinators and a worker, each ready."""
    manifests = render_values({**SMALL, "valkey": {"enabled": True}}, short)
    with cluster_of(manifests, short) as cluster:
        store = cluster.add("store-0", template(manifests, "prod-aiki-valkey"))
        coordinators = [cluster.add(f"coordinator-{n}", template(manifests, "prod-aiki")) for n in (0, 1)]
        worker = cluster.add("worker-0", template(manifests, "prod-aiki-worker-default"))
        store.start()
        store.until(*PROBES)
        for pod in (*coordinators, worker):
            pod.start()
        for pod in (*coordinators, worker):
            pod.until(*PROBES)
        yield cluster, store, coordinators, worker


def helm_test(cluster: Cluster, name: str) -> str:
    """Run the pod of `helm test`; what it printed."""
    pod = cluster.add(name, template(cluster.manifests, "prod-aiki-test"))
    pod.start()
    assert pod.process is not None
    assert pod.process.wait(50) == 0, pod.log()
    return pod.log()


@container
@pytest.mark.timeout(240)
def test_trial_runs_workflows_and_survives_what_an_update_does(
    trial: tuple[Cluster, Pod, list[Pod], Pod],
) -> None:
    """`helm test` passes; one coordinator is replaced and it passes again; everything ends within its grace."""
    cluster, _, (first, second), worker = trial
    assert "result: answer 42" in helm_test(cluster, "test-0")

    assert first.stop() >= float(first.container["lifecycle"]["preStop"]["exec"]["command"][1])

    worker.until("readiness")
    second.until("readiness")
    del cluster.pods[first.name]
    assert "result: answer 42" in helm_test(cluster, "test-1")
    assert worker.stop() < 40
    second.stop()


@container
@pytest.mark.timeout(180)
def test_readiness_follows_the_store_and_liveness_does_not(
    trial: tuple[Cluster, Pod, list[Pod], Pod],
) -> None:
    """A store that is away takes coordinators out of their Services, and restarts none."""
    _, store, coordinators, _ = trial

    store.stop()

    for pod in coordinators:
        pod.until("-readiness", "liveness")
    store.start()
    for pod in coordinators:
        pod.until("readiness", "liveness")


@container
@pytest.mark.timeout(180)
def test_containers_are_what_the_chart_says(trial: tuple[Cluster, Pod, list[Pod], Pod]) -> None:
    """Another user than root, without capabilities, on a root that nobody can write."""
    _, _, (first, _), _ = trial
    assert first.process is not None
    status = Path(f"/proc/{first.process.pid}/status").read_text(encoding="utf-8")
    facts = dict(line.split(":", 1) for line in status.splitlines())
    assert facts["Uid"].split() == ["65532"] * 4
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0
    assert facts["NoNewPrivs"].strip() == "1"
    inside = f"/proc/{first.process.pid}/root"

    refused = subprocess.run(["touch", f"{inside}/etc/written"], capture_output=True, text=True, check=False)

    assert "Read-only file system" in refused.stderr
    assert not Path("/etc/written").exists()


@container
@pytest.mark.timeout(120)
def test_external_store_by_secret(short: Path) -> None:
    """The URL, with its password, comes from a mounted Secret that only the pod's group may read."""
    values = {**SMALL, "store": {"existingSecret": {"name": "aiki-store", "urlKey": "url"}}}
    manifests = render_values(values, short)
    trial = render(CHART / "ci/ephemeral-values.yaml")
    with cluster_of(manifests, short) as cluster:
        outside = template(trial, "prod-aiki-valkey")
        outside["spec"]["containers"][0]["args"] += ["--requirepass", "open sesame"]
        store = cluster.add("store-0", outside)
        cluster.secrets["aiki-store"] = {
            "url": f"redis://:open%20sesame@{store.address}:6379/0",
            "other": "x",
        }
        coordinator = cluster.add("coordinator-0", template(manifests, "prod-aiki"))
        store.start()
        store.until(*PROBES)

        coordinator.start()

        coordinator.until(*PROBES)
        assert "sesame" not in "".join(coordinator.environment().values())
        assert "result: answer 42" in helm_test(cluster, "test-0")


@container
@pytest.mark.timeout(240)
def test_tls_with_certificates_on_both_sides(short: Path) -> None:
    """Probes over HTTP, workers and `helm test` with a certificate of their own; the key of the coordinators stays theirs."""
    settings = {
        "enabled": True,
        "clientAuth": True,
        "existingSecret": "aiki-tls",
        "clientSecret": "aiki-client-tls",
    }
    manifests = render_values({**SMALL, "valkey": {"enabled": True}, "tls": settings}, short)
    authority = trustme.CA()
    name = "prod-aiki-headless.flows.svc.cluster.local"
    secrets = {"aiki_tls": certificate(authority, name), "aiki_client_tls": certificate(authority, "worker")}
    with cluster_of(manifests, short, **secrets) as cluster:
        store = cluster.add("store-0", template(manifests, "prod-aiki-valkey"))
        coordinator = cluster.add("coordinator-0", template(manifests, "prod-aiki"))
        worker = cluster.add("worker-0", template(manifests, "prod-aiki-worker-default"))
        store.start()
        store.until(*PROBES)
        coordinator.start()
        worker.start()

        coordinator.until(*PROBES)
        worker.until(*PROBES)

        assert "result: answer 42" in helm_test(cluster, "test-0")
        assert [path.name for path in (worker.folder / "volume-ca").iterdir()] == ["ca.crt"]


def certificate(authority: trustme.CA, name: str) -> dict[str, str]:
    """A Secret as cert-manager makes it."""
    issued = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    return {
        "ca.crt": authority.cert_pem.bytes().decode(),
        "tls.crt": chain.decode(),
        "tls.key": issued.private_key_pem.bytes().decode(),
    }


@pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.stem.removesuffix("-values"))
def test_coordinator_takes_its_settings(values: Path, short: Path) -> None:
    """What each values file has a coordinator told, a coordinator accepts: `--check-config` of the rendered command."""
    manifests = render(values)
    deployments = of_kind(manifests, "Deployment")
    found = [item["spec"]["template"] for item in deployments.values() if _is_coordinator(item)]
    assert len(found) == (0 if "workers-only" in values.name else 1)
    held = {"url": "redis://:secret@valkey:6379/0", "username": "aiki", "password": "secret"}
    certificates = {"ca.crt": "x", "tls.crt": "x", "tls.key": "x"}
    for pod in found:
        pod["spec"]["containers"] = pod["spec"]["containers"][:1]
        cluster = cluster_of(
            manifests, short, aiki_store=held, aiki_store_tls=certificates, prod_aiki_tls=certificates
        )
        coordinator = cluster.add("coordinator", pod)
        environment = coordinator.environment()
        for mount in coordinator.container["volumeMounts"]:
            volume = next(item for item in coordinator.spec["volumes"] if item["name"] == mount["name"])
            folder = short / f"files-{mount['name']}"
            folder.mkdir()
            if volume.get("configMap", {}).get("name") != "flow-extra":
                for path, (content, _) in coordinator.files(volume).items():
                    (folder / path).write_text(content, encoding="utf-8")
            environment = {
                key: text.replace(mount["mountPath"], str(folder)) for key, text in environment.items()
            }

        done = subprocess.run(
            [*coordinator.command(), "--check-config"],
            env={**environment, "PATH": f"{cluster.image}:{os.environ['PATH']}"},
            cwd=short,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

        if "it is no address of a store" in done.stderr or "durability: Input should be" in done.stderr:
            pytest.skip("coordinators know no such store yet")
        assert done.returncode == 0, done.stderr
        assert "secret" not in done.stdout
        lines = dict(
            line.split("  # ")[0].split(" = ", 1) for line in done.stdout.splitlines() if " = " in line
        )
        assert lines["listen"].strip('"').split(":")[1] == str(coordinator.port("grpc"))


def _is_coordinator(item: Manifest) -> bool:
    labels: dict[str, str] = item["metadata"]["labels"]
    return labels["app.kubernetes.io/component"] == "coordinator"
