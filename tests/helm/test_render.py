"""Each values file of `helm/aiki/ci` renders to objects that Kubernetes and the operators accept, and that fit together."""

import subprocess
from pathlib import Path

import pytest

from aiki_server.core.scaling import Trigger
from tests.helm.chart import (
    CHART,
    MATRIX,
    NEWEST,
    OLDEST,
    ROOT,
    TOOLS,
    Manifest,
    helm,
    of_kind,
    parsed,
    pods,
    render,
    render_values,
    template,
)

matrix = pytest.mark.parametrize("values", MATRIX, ids=lambda path: path.stem.removesuffix("-values"))


def test_matrix_is_wide() -> None:
    """Every feature has a file that turns it on."""
    assert len(MATRIX) >= 12


@matrix
def test_lints(values: Path) -> None:
    """No warning either."""
    helm("lint", "--strict", str(CHART), "--values", str(values))


@pytest.mark.timeout(300)  # Models of operators are slow to import.
def test_validates_strictly(tmp_path: Path) -> None:
    """Against the schemas of the oldest and the newest Kubernetes, unknown fields refused."""
    files = []
    for values in MATRIX:
        files.append(tmp_path / values.name)
        first = values.read_text(encoding="utf-8").splitlines()[0]
        files[-1].write_text(f"{first}\n{template(values)}", encoding="utf-8")

    done = subprocess.run(
        [str(TOOLS / "python"), str(ROOT / "helm/validate"), f"{OLDEST},{NEWEST}", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(120)
def test_validation_finds_what_is_wrong(tmp_path: Path) -> None:
    """A field that nobody knows is told, in Kubernetes' own objects and in those of operators."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(
        """
{apiVersion: v1, kind: Service, metadata: {name: one}, spec: {port: 1}}
---
{apiVersion: keda.sh/v1alpha1, kind: ScaledObject, metadata: {name: two},
 spec: {scaleTargetRef: {name: x}, minReplicas: 0, triggers: []}}
---
{apiVersion: gateway.networking.k8s.io/v1, kind: GRPCRoute, metadata: {name: three}, spec: {hosts: [x]}}
""",
        encoding="utf-8",
    )

    done = subprocess.run(
        [str(TOOLS / "python"), str(ROOT / "helm/validate"), NEWEST, str(wrong)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    told = done.stdout.splitlines()
    assert [line.split(": ")[1] for line in told] == ["Service one", "ScaledObject two", "GRPCRoute three"]
    assert "minReplicas: there is no such field" in told[1]


@matrix
def test_fits_together(values: Path) -> None:
    """Names are unique and short enough; what refers to something finds it."""
    manifests = render(values)

    names = [(item["kind"], item["metadata"]["name"]) for item in manifests]
    assert len(names) == len({*names})
    assert all(len(name) <= 63 for _, name in names)
    accounts = of_kind(manifests, "ServiceAccount")
    templates = list(pods(manifests))
    for _, pod in templates:
        account = pod["spec"].get("serviceAccountName", "default")
        assert account in {*accounts, "default", "platform"}
        mounts = {mount["name"] for box in pod["spec"]["containers"] for mount in box.get("volumeMounts", ())}
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", ())}
        assert mounts - volumes <= {"data"}  # A StatefulSet's claim.
    for service in of_kind(manifests, "Service").values():
        selected = [pod for _, pod in templates if selects(service["spec"]["selector"], pod)]
        assert selected
        ports = {
            port["name"]
            for pod in selected
            for box in pod["spec"]["containers"]
            for port in box.get("ports", ())
        }
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind in ("PodDisruptionBudget", "NetworkPolicy", "PodMonitor"):
        for item in of_kind(manifests, kind).values():
            spec = item["spec"]
            labels = (spec.get("selector") or spec["podSelector"])["matchLabels"]
            assert [pod for _, pod in templates if selects(labels, pod)], item["metadata"]["name"]
    for kind in ("HorizontalPodAutoscaler", "ScaledObject"):
        for item in of_kind(manifests, kind).values():
            target = of_kind(manifests, "Deployment")[item["spec"]["scaleTargetRef"]["name"]]
            assert "replicas" not in target["spec"]  # They would fight over it.
    for monitor in of_kind(manifests, "ServiceMonitor").values():
        wanted = monitor["spec"]["selector"]["matchLabels"]
        found = [service for service in of_kind(manifests, "Service").values() if selects(wanted, service)]
        assert [service["spec"].get("clusterIP") for service in found] == ["None"]


@matrix
def test_is_restricted(values: Path) -> None:
    """Each container keeps to the restricted Pod Security Standard; ours have a read-only root besides."""
    for _, pod in pods(render(values)):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {*spec}
        for container in [*spec["containers"], *spec.get("initContainers", ())]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
        assert spec["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True


@matrix
def test_secrets_are_never_in_the_environment(values: Path) -> None:
    """What is secret about the store is mounted."""
    for _, pod in pods(render(values)):
        environment = pod["spec"]["containers"][0].get("env", ())
        assert [item["name"] for item in environment if "STORE" in item["name"] and "valueFrom" in item] == []


def selects(labels: Manifest, item: Manifest) -> bool:
    return {*labels.items()} <= {*item["metadata"]["labels"].items()}


def test_group_overrides_every_default(tmp_path: Path) -> None:
    """False, zero and empty win over a default, too."""
    values = {
        "valkey": {"enabled": True},
        "workers": {
            "small": {
                "modules": ["app"],
                "replicas": 0,
                "probes": {"enabled": False},
                "podDisruptionBudget": {"enabled": False},
                "topologySpread": {"enabled": False},
                "serviceAccount": {"create": False},
            }
        },
    }

    manifests = render_values(values, tmp_path)

    deployment = of_kind(manifests, "Deployment")["prod-aiki-worker-small"]
    spec = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 0
    assert "livenessProbe" not in spec["containers"][0]
    assert "topologySpreadConstraints" not in spec
    assert spec["serviceAccountName"] == "default"
    assert "prod-aiki-worker-small" not in of_kind(manifests, "PodDisruptionBudget")


def test_alerts_and_dashboards_are_what_lies_in_their_folders(tmp_path: Path) -> None:
    """A file that is put there becomes an object; an alert can be left out, and labelled."""
    chart = tmp_path / "aiki"
    subprocess.run(["cp", "-r", str(CHART), str(chart)], check=True)
    for folder in ("alerts", "dashboards"):
        (chart / folder).mkdir(exist_ok=True)
        for path in (chart / folder).iterdir():
            path.unlink()
    (chart / "alerts/one.yaml").write_text(
        """
groups:
  - name: aiki
    rules:
      - {alert: Kept, expr: up == 0, annotations: {summary: "{{ $labels.pod }} is gone"}}
      - {alert: LeftOut, expr: up == 0}
      - {record: aiki:up, expr: sum(up)}
""",
        encoding="utf-8",
    )
    (chart / "dashboards/overview.json").write_text('{"title": "{{ pod }}"}\n', encoding="utf-8")
    watching = {
        "dashboards": {"enabled": True},
        "prometheusRule": {"enabled": True, "disabled": ["LeftOut"], "alertLabels": {"team": "platform"}},
    }

    manifests = render_values({"valkey": {"enabled": True}, "monitoring": watching}, tmp_path, chart=chart)

    (rule,) = of_kind(manifests, "PrometheusRule").values()
    kept, record = rule["spec"]["groups"][0]["rules"]
    assert kept["labels"] == {"team": "platform"}
    assert kept["annotations"] == {"summary": "{{ $labels.pod }} is gone"}
    assert record == {"record": "aiki:up", "expr": "sum(up)"}
    board = of_kind(manifests, "ConfigMap")["prod-aiki-dashboard-overview"]
    assert board["data"] == {"overview.json": '{"title": "{{ pod }}"}\n'} or board["data"] == {
        "overview.json": '{"title": "{{ pod }}"}'
    }


def test_documentation_made_from_the_values_is_fresh() -> None:
    """The schema and the table of the README say what schema.yaml and values.yaml say."""
    done = subprocess.run(
        [str(TOOLS / "python"), str(ROOT / "helm/generate"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["keda", "tls", "workers-only"])
def test_triggers_are_what_coordinators_read(name: str) -> None:
    """The metadata of each trigger, KEDA's own keys included, makes sense to the external scaler."""
    objects = of_kind(render(CHART / f"ci/{name}-values.yaml"), "ScaledObject")
    assert objects
    triggers = [trigger for item in objects.values() for trigger in item["spec"]["triggers"]]
    parsed_ones = [
        Trigger.parse(trigger["metadata"]) for trigger in triggers if trigger["type"] == "external"
    ]

    assert parsed_ones
    if name == "keda":
        assert [(one.queue, one.target) for one in parsed_ones] == [("default", 8.0), ("bulk", 8.0)]


def notes(values: Path) -> str:
    """What `helm install` prints at its end."""
    said = helm(
        "install", "prod", str(CHART), "--dry-run=client", "--namespace", "flows", "--values", str(values)
    )
    return said.split("NOTES:\n", 1)[1]


def test_notes_say_what_comes_next_and_what_is_unsafe() -> None:
    """The next command by name, and loud words for what must not go to production."""
    trial = notes(CHART / "ci/trial-values.yaml")
    assert "rollout status deployment/prod-aiki" in trial
    assert "helm test prod --namespace flows" in trial
    assert "NOT FOR PRODUCTION" in trial
    assert "WITH THE POD" in notes(CHART / "ci/ephemeral-values.yaml")
    everything = notes(CHART / "ci/everything-values.yaml")
    for warning in (
        "store.allowUnsafe",
        "store.durability=local",
        "one coordinator",
        "networkPolicy.enabled=false",
    ):
        assert warning in everything
    assert "reachable from outside" in notes(CHART / "ci/ingress-values.yaml")
    safe = notes(CHART / "ci/external-values.yaml")
    assert "WARNING" not in safe
    assert "NOT FOR PRODUCTION" not in safe


def test_parsed_is_all_of_it() -> None:
    """The helper that every test here leans on loses nothing."""
    assert len(parsed("a: 1\n---\n---\nb: 2\n")) == 2
