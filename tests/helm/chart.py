"""The chart, rendered by the real helm."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm/aiki"
TOOLS = Path(os.environ.get("AIKI_HELM_TOOLS", ROOT / ".venv-helm/bin"))
MATRIX = sorted(CHART.glob("ci/*-values.yaml"))
RELEASE, NAMESPACE = "prod", "flows"
OLDEST, NEWEST = "1.27", "1.37"

Manifest = dict[str, Any]


class RefusedError(Exception):
    """Helm would not render; what it said."""


def helm(*arguments: str) -> str:
    """Run helm, away from whatever plugins and settings are on this machine.

    Raises:
        RefusedError: it failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        own = {f"HELM_{name}_HOME": folder for name in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(TOOLS / "helm"), *arguments],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    if done.returncode:
        raise RefusedError(done.stdout + done.stderr)
    return done.stdout


def template(*values: Path, chart: Path = CHART, options: tuple[str, ...] = ()) -> str:
    files = [part for path in values for part in ("--values", str(path))]
    return helm("template", RELEASE, str(chart), "--namespace", NAMESPACE, *files, *options)


def render(*values: Path, chart: Path = CHART, options: tuple[str, ...] = ()) -> list[Manifest]:
    return parsed(template(*values, chart=chart, options=options))


def render_values(values: Manifest, folder: Path, *, chart: Path = CHART) -> list[Manifest]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return render(path, chart=chart)


def parsed(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.load_all(text, Loader=yaml.CSafeLoader) if manifest]


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Manifest]:
    return {item["metadata"]["name"]: item for item in manifests if item["kind"] == kind}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Name and template (metadata, spec) of each pod that would run."""
    for item in manifests:
        if item["kind"] == "Pod":
            yield item["metadata"]["name"], item
        elif item["kind"] in {"Deployment", "StatefulSet"}:
            yield item["metadata"]["name"], item["spec"]["template"]
