"""What docs/kubernetes.md shows works: each snippet of values renders, and each command of helm is one."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.docs.markdown import Fence, fences
from tests.helm.chart import CHART, ROOT, helm, of_kind, render

PAGE = ROOT / "docs/kubernetes.md"
SNIPPETS = [fence for fence in fences(PAGE) if fence.language == "yaml"]
COMMANDS = [
    line.split("#")[0].strip()
    for fence in fences(PAGE)
    if fence.language == "bash"
    for line in fence.code.splitlines()
    if line.startswith("helm ")
]


@pytest.mark.parametrize("fence", SNIPPETS, ids=lambda fence: f"{fence.heading}:{fence.line}")
def test_values_render(fence: Fence, tmp_path: Path) -> None:
    """A reader can paste them, as they stand; they lint, too."""
    assert fence.words == ("values",)
    values = tmp_path / "values.yaml"
    values.write_text(fence.code, encoding="utf-8")

    assert of_kind(render(values), "Deployment")
    helm("lint", "--strict", str(CHART), "--values", str(values))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_helm(command: str, tmp_path: Path) -> None:
    """Helm takes the command with these flags; one that installs is carried out, but for the cluster."""
    values = tmp_path / "values.yaml"
    values.write_text("valkey: {enabled: true}\n", encoding="utf-8")
    words = shlex.split(command)[1:]
    if words[0] != "install":
        known = helm(words[0], "--help")
        flags = {word for word in words if word.startswith("--")}
        assert all(re.search(rf"{flag}\b", known) for flag in flags)
        return
    words = [
        str(values) if word == "values.yaml" else str(CHART) if word == "helm/aiki" else word
        for word in words
    ]

    assert "STATUS: pending-install" in helm(*words, "--dry-run=client")


def test_names_in_commands_are_those_of_the_chart() -> None:
    """`deployment/aiki` and the like exist when the release is called aiki."""
    named = set(re.findall(r"(?:deployment|service)/([a-z-]+)", PAGE.read_text(encoding="utf-8")))
    done = helm("template", "aiki", str(CHART), "--set", "valkey.enabled=true")

    assert all(re.search(rf"^  name: {name}$", done, re.MULTILINE) for name in named)


def test_bash_parses() -> None:
    """Every command is one line of shell."""
    for fence in fences(PAGE):
        if fence.language == "bash":
            subprocess.run(["bash", "-n"], input=fence.code, text=True, check=True)
