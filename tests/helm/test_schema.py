"""What the chart refuses: unknown keys everywhere, values that cannot be, and values that do not fit each other."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helm.chart import CHART, RefusedError, render_values

# Objects that anybody may fill: `global` is Helm's, extraObjects are of any kind, and Kubernetes leaves one open.
OPEN = {
    "properties/global",
    "properties/extraObjects/items/anyOf/1",
    "$defs/io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
}
STORE = {"store": {"url": "redis://valkey:6379"}}
GROUP = {"modules": ["app"]}


def schema() -> Any:
    return json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))


def objects(node: Any, at: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Each schema of an object, and where it stands."""
    if isinstance(node, dict):
        types = node.get("type", [])
        if "object" in ([types] if isinstance(types, str) else types):
            yield "/".join(at), node
        for key, value in node.items():
            yield from objects(value, (*at, str(key)))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from objects(value, (*at, str(number)))


def test_every_object_is_closed() -> None:
    """A key that nobody knows is refused wherever it stands; maps of the user's own keys say what their values are."""
    found = {at for at, node in objects(schema()) if node.get("additionalProperties", True) is True}

    assert found - OPEN == set()


def merged(*parts: dict[str, Any]) -> dict[str, Any]:
    whole: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            known = whole.get(key)
            whole[key] = (
                merged(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
            )
    return whole


def at(path: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for `a.b`."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


REFUSED: list[tuple[str, Any]] = [
    # Keys that nobody knows, at every depth.
    ("replicas", 3),
    ("coordinator.replica", 3),
    ("coordinator.image.name", "aiki"),
    ("coordinator.resources.limit", {"cpu": "1"}),
    ("coordinator.probes.liveness.httpGet", {"path": "/"}),
    ("coordinator.securityContext.readOnlyRootFileSystem", True),
    ("coordinator.affinity.nodeAffinty", {}),
    ("coordinator.autoscaling.type", "keda"),
    ("coordinator.extraVolumes", [{"name": "x", "configmap": {"name": "y"}}]),
    ("coordinator.env", [{"name": "A", "valu": "b"}]),
    ("store.password", "secret"),
    ("store.existingSecret.password", "secret"),
    ("store.tls.ca", "x"),
    ("workers.default.module", ["app"]),
    ("workers.default.autoscaling.keda.target", 5),
    ("monitoring.podMonitor.path", "/metrics"),
    ("networkPolicy.clients", [{"podselector": {}}]),
    ("ingress.tls.secret", "x"),
    ("grpcRoute.parentRefs", [{"name": "x", "sectionname": "y"}]),
    ("certificate.issuer", "x"),
    ("valkey.persistence.storageclass", "fast"),
    ("helmTest.timeout", 5),
    ("telemetry.endpoint", "x"),
    # Values that cannot be.
    ("store.mode", "single"),
    ("store.durability", "eventual"),
    ("store.partitions", 0),
    ("store.url", "http://valkey:6379"),
    ("store.hosts", ["valkey"]),
    ("store.hosts", ["user:password@valkey:6379"]),
    ("coordinator.replicas", "two"),
    ("coordinator.replicas", -1),
    ("coordinator.ports.grpc", 70000),
    ("coordinator.logFormat", "xml"),
    ("coordinator.leaseTtlSeconds", 0),
    ("coordinator.image.digest", "sha256:12"),
    ("coordinator.image.pullPolicy", "Sometimes"),
    ("coordinator.service.type", "ExternalName"),
    ("coordinator.topologySpread.whenUnsatisfiable", "Never"),
    ("coordinator.podDisruptionBudget.maxUnavailable", "half"),
    ("coordinator.settings", {"Lease-TTL": 5}),
    ("coordinator.podLabels", {"a": "not a label!"}),
    ("commonLabels", {"a": 5}),
    ("workers", {"Upper": GROUP}),
    ("workers.default.queues", []),
    ("workers.default.queues", ["a,b"]),
    ("workers.default.slots", 0),
    ("workers.default.graceSeconds", "30s"),
    ("workers.default.modules", ["--address"]),
    ("workers.default.autoscaling.type", "vpa"),
    ("telemetry.samplingRatio", 2),
    ("monitoring.serviceMonitor.interval", "often"),
    ("certificate.duration", "90 days"),
    ("valkey.persistence.size", "big"),
    ("valkey.maxmemory", "lots"),
    ("coordinatorAddress", "http://aiki"),
    ("extraObjects", [{"kind": "ConfigMap"}]),
]


@pytest.mark.parametrize(
    ("path", "value"), REFUSED, ids=[f"{path}={json.dumps(value)}" for path, value in REFUSED]
)
def test_refuses_by_schema(path: str, value: Any, tmp_path: Path) -> None:
    """Helm renders nothing, and the message leads to the key."""
    values = merged(STORE, at(path, value))
    if "workers.default" in path:
        values = merged({"workers": {"default": GROUP}}, values)

    with pytest.raises(RefusedError) as refusal:
        render_values(values, tmp_path)

    assert "values don't meet the specifications of the schema" in str(refusal.value)
    assert path.rsplit(".", 1)[-1] in str(refusal.value)


MISFITS: list[tuple[dict[str, Any], str]] = [
    ({"store": {"url": ""}}, "no store is named"),
    ({"valkey": {"enabled": True}}, "valkey.enabled and store.url name a store each"),
    ({"store": {"existingSecret": {"name": "x"}}}, "store.existingSecret.name without a key"),
    ({"store": {"existingSecret": {"passwordKey": "x"}}}, "set store.existingSecret.name"),
    ({"store": {"url": "redis://user:word@valkey:6379"}}, "store.url holds a password"),
    (
        {"store": {"url": "", "hosts": ["a:1"], "mode": "sentinel"}},
        "store.mode sentinel needs store.masterName",
    ),
    ({"store": {"url": "", "hosts": ["a:1", "b:1"]}}, "store.hosts has several hosts"),
    ({"store": {"url": "", "hosts": ["a:1"], "tls": {"existingSecret": "x"}}}, "without store.tls.enabled"),
    ({"store": {"tls": {"certKey": "tls.crt"}}}, "store.tls.certKey and store.tls.keyKey go together"),
    (
        {"store": {"url": "", "durability": "replicated"}, "valkey": {"enabled": True}},
        "store.durability replicated needs replicas",
    ),
    ({"coordinatorAddress": "other:7700"}, "coordinatorAddress is for a release without coordinators"),
    ({"coordinator": {"enabled": False}}, "coordinator.enabled=false needs coordinatorAddress"),
    (
        {"coordinator": {"enabled": False}, "coordinatorAddress": "x:1", "ingress": {"enabled": True}},
        "ingress, grpcRoute and valkey are for coordinators",
    ),
    (
        {"coordinator": {"preStopSeconds": 25}},
        "coordinator.terminationGracePeriodSeconds must be at least 10 more",
    ),
    (
        {"coordinator": {"autoscaling": {"enabled": True, "minReplicas": 9}}},
        "coordinator.autoscaling.minReplicas is more than maxReplicas",
    ),
    (
        {"coordinator": {"autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 0}}},
        "coordinator.autoscaling has no metric",
    ),
    (
        {"coordinator": {"podDisruptionBudget": {"minAvailable": 1}}},
        "coordinator.podDisruptionBudget: set one of",
    ),
    (
        {"coordinator": {"podDisruptionBudget": {"maxUnavailable": ""}}},
        "coordinator.podDisruptionBudget: set one of",
    ),
    ({"workers": {"a": {"queues": ["x"]}}}, "workers.a.modules is empty"),
    (
        {"workers": {"a": GROUP | {"autoscaling": {"enabled": True, "minReplicas": 0}}}},
        "workers.a.autoscaling.minReplicas must be at least 1 with type hpa",
    ),
    ({"ingress": {"enabled": True}}, "ingress.hosts is empty"),
    ({"ingress": {"enabled": True, "hosts": ["a.example"]}}, "ingress.tls has no certificate"),
    ({"grpcRoute": {"enabled": True}}, "grpcRoute.parentRefs is empty"),
    ({"certificate": {"enabled": True}}, "certificate.issuerRef.name is empty"),
    ({"tls": {"enabled": True}}, "tls.enabled needs a certificate"),
    ({"tls": {"enabled": True, "existingSecret": "x", "clientAuth": True}}, "tls.clientAuth needs tls.caKey"),
]


@pytest.mark.parametrize(("values", "sentence"), MISFITS, ids=[sentence for _, sentence in MISFITS])
def test_refuses_what_does_not_fit(values: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    """Helm renders nothing, and says which keys do not go together."""
    with pytest.raises(RefusedError) as refusal:
        render_values(merged(STORE, values), tmp_path)

    assert "These values do not fit" in str(refusal.value)
    assert sentence in str(refusal.value)
