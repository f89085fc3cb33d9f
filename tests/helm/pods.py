"""Runs rendered pods as processes of this machine, as a kubelet would: commands, environment, volumes, user, probes.

What differs from a cluster: a pod's own address is one of this machine's loopback addresses, so that `0.0.0.0`
becomes it; Services are lines of /etc/hosts; the image is this machine with our commands on PATH.
"""

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2

from aiki_server.store.embedded import _binary as valkey_server
from tests.helm.chart import NAMESPACE, ROOT, Manifest, of_kind

IMAGE = "/opt/image"
CONTAINER = Path(__file__).with_name("container.py")
HEALTH = "/grpc.health.v1.Health/Check"
WAIT_SECONDS = 40.0
NUMBERED = random.SystemRandom()


class Pod:
    """One pod with one container. The folder holds its volumes and its log."""

    def __init__(self, name: str, template: Manifest, cluster: "Cluster") -> None:
        self.name = name
        self.labels: dict[str, str] = template["metadata"]["labels"]
        self.spec = template["spec"]
        (self.container,) = self.spec["containers"]
        self.address = f"127.{NUMBERED.randint(1, 254)}.{NUMBERED.randint(0, 254)}.{NUMBERED.randint(1, 254)}"
        self.folder = cluster.folder / name
        self._cluster = cluster
        self.process: subprocess.Popen[bytes] | None = None

    # What it says.

    def environment(self) -> dict[str, str]:
        found = {"PATH": f"{IMAGE}:{os.environ['PATH']}", "HOME": "/tmp", "LANG": "C.UTF-8"}
        for item in self.container.get("env", ()):
            value = item["value"] if "value" in item else self._referred(item["valueFrom"])
            found[item["name"]] = self._here(_expanded(str(value), found))
        return found

    def command(self) -> list[str]:
        words = [*self.container["command"], *self.container.get("args", ())]
        return [self._here(_expanded(word, self.environment())) for word in words]

    def _referred(self, reference: Manifest) -> str:
        match reference:
            case {"fieldRef": {"fieldPath": "metadata.name"}}:
                return self.name
            case {"fieldRef": {"fieldPath": "metadata.namespace"}}:
                return NAMESPACE
            case {"secretKeyRef": {"name": name, "key": key}}:
                return self._cluster.secrets[name][key]
            case _:
                raise AssertionError(reference)

    def _here(self, text: str) -> str:
        return text.replace("0.0.0.0", self.address)

    def port(self, port: str | int) -> int:
        named: dict[str | int, int] = {
            item["name"]: item["containerPort"] for item in self.container["ports"]
        }
        return named.get(port, 0) or int(port)

    # What a kubelet does with it.

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        security = {**self.spec["securityContext"], **self.container["securityContext"]}
        spec = {
            "command": self.command(),
            "environment": self.environment(),
            "folder": str(self.folder),
            "fs_group": security["fsGroup"],
            "group": security["runAsGroup"],
            "hosts": self._cluster.hosts(),
            "mounts": [self._mounted(mount, security["fsGroup"]) for mount in self.container["volumeMounts"]]
            + [self._cluster.programs()],
            "read_only": security["readOnlyRootFilesystem"],
            "readable": [os.path.realpath(path) for path in (ROOT, sys.prefix, sys.base_prefix)],
            "user": security["runAsUser"],
        }
        path = self.folder / "spec.json"
        path.write_text(json.dumps(spec), encoding="utf-8")
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    "unshare",
                    "--mount",
                    "--propagation",
                    "private",
                    "--",
                    sys.executable,
                    str(CONTAINER),
                    str(path),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _mounted(self, mount: Manifest, fs_group: int) -> Manifest:
        (volume,) = [item for item in self.spec.get("volumes", ()) if item["name"] == mount["name"]] or [{}]
        source = self.folder / f"volume-{mount['name']}"
        source.mkdir(exist_ok=True)
        os.chown(source, 0, fs_group)
        source.chmod(0o2777 if "emptyDir" in volume else 0o2775)
        for path, (content, mode) in self.files(volume).items():
            (source / path).write_text(content, encoding="utf-8")
            (source / path).chmod(mode)
            os.chown(source / path, 0, fs_group)
        return {"path": mount["mountPath"], "source": str(source), "read_only": mount.get("readOnly", False)}

    def files(self, volume: Manifest) -> dict[str, tuple[str, int]]:
        """What a volume of a Secret or ConfigMap holds."""
        if "secret" in volume:
            held, mode = (
                self._cluster.secrets[volume["secret"]["secretName"]],
                volume["secret"]["defaultMode"],
            )
            items = volume["secret"].get("items") or [{"key": key, "path": key} for key in held]
            return {item["path"]: (held[item["key"]], mode) for item in items}
        if "configMap" in volume:
            data = of_kind(self._cluster.manifests, "ConfigMap")[volume["configMap"]["name"]]["data"]
            return {key: (text, 0o644) for key, text in data.items()}
        return {}

    def probe(self, kind: str) -> bool:
        """Whether the container's startup, liveness or readiness probe succeeds."""
        probe = self.container[f"{kind}Probe"]
        if "grpc" in probe:
            return self._grpc(int(probe["grpc"]["port"]), probe["grpc"]["service"])
        if "httpGet" in probe:
            url = f"http://{self.address}:{self.port(probe['httpGet']['port'])}{probe['httpGet']['path']}"
            try:
                with urllib.request.urlopen(url, timeout=probe["timeoutSeconds"]) as answer:
                    status: int = answer.status
                    return 200 <= status < 400
            except (urllib.error.URLError, OSError):
                return False
        try:
            socket.create_connection((self.address, self.port(probe["tcpSocket"]["port"])), 1).close()
        except OSError:
            return False
        return True

    def _grpc(self, port: int, service: str) -> bool:
        with grpc.insecure_channel(f"{self.address}:{port}") as channel:
            check = channel.unary_unary(
                HEALTH,
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer: Any = check(health_pb2.HealthCheckRequest(service=service), timeout=5)
            except grpc.RpcError:
                return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def until(self, *probes: str) -> None:
        """Wait until each of these probes succeeds; `-readiness` waits until it fails."""

        def holds() -> bool:
            return all(self.probe(kind.removeprefix("-")) is not kind.startswith("-") for kind in probes)

        self._cluster.wait(holds, f"{self.name}: {probes}", self)

    def stop(self) -> float:
        """The preStop hook, SIGTERM, and SIGKILL if it is not gone within the grace; the seconds until it was gone.

        Raises:
            AssertionError: it had to be killed.
        """
        assert self.process is not None
        began = time.monotonic()
        give_up_at = began + float(self.spec["terminationGracePeriodSeconds"])
        hook = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
        if hook and self.process.poll() is None:
            inside = ["nsenter", "--mount", "--root", f"--target={self.process.pid}", "--"]
            subprocess.run([*inside, *hook], check=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(max(0.0, give_up_at - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within its grace:\n{self.log()}") from None
        return time.monotonic() - began

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-4000:]


class Cluster:
    """Pods made from one rendered release, and the Services between them."""

    def __init__(self, manifests: list[Manifest], folder: Path, secrets: dict[str, dict[str, str]]) -> None:
        self.manifests = manifests
        self.folder = folder
        self.secrets = secrets
        self.pods: dict[str, Pod] = {}
        # What the images have on PATH.
        self.image = folder / "image"
        self.image.mkdir()
        for name in ("aiki", "python"):
            program = Path(sys.executable).with_name(name)
            (self.image / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n', encoding="utf-8")
            (self.image / name).chmod(0o755)
        (self.image / "valkey-server").symlink_to(valkey_server())
        folder.chmod(0o755)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods.values():
            pod.kill()

    def add(self, name: str, template: Manifest) -> Pod:
        """A pod that has its address, and is not started yet."""
        pod = self.pods[name] = Pod(name, template, self)
        return pod

    def programs(self) -> Manifest:
        return {"path": IMAGE, "source": str(self.image), "read_only": True}

    def hosts(self) -> str:
        """Each Service by its full name: an address of every pod that it selects."""
        lines = ["127.0.0.1 localhost"]
        for name, service in of_kind(self.manifests, "Service").items():
            selector = {*service["spec"]["selector"].items()}
            addresses = [pod.address for pod in self.pods.values() if selector <= {*pod.labels.items()}]
            lines += [f"{address} {name}.{NAMESPACE}.svc.cluster.local" for address in addresses]
        return "\n".join(lines) + "\n"

    def wait(self, holds: Callable[[], bool], what: str, pod: Pod) -> None:
        give_up_at = time.monotonic() + WAIT_SECONDS
        while not holds():
            assert pod.process is not None
            assert pod.process.poll() is None, f"{pod.name} ended: {pod.process.returncode}\n{pod.log()}"
            assert time.monotonic() < give_up_at, f"{what} did not come to pass:\n{pod.log()}"
            time.sleep(0.1)


def _expanded(text: str, known: dict[str, str]) -> str:
    return re.sub(r"\$\(([A-Za-z_][A-Za-z0-9_]*)\)", lambda found: known.get(found[1], found[0]), text)
