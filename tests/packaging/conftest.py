"""Wheels, and clean environments to install them in."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = {
    "aiki-client": "aiki_sdk/client",
    "aiki-proto": "proto",
    "aiki-sdk": "aiki_sdk",
    "aiki-server": "aiki_server",
    "aiki-task": "aiki_sdk/task",
    "aiki-worker": "aiki_worker",
    "aiki-workflow": "aiki_sdk/workflow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """A virtual environment that never saw the source tree."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")

    def distributions(self) -> set[str]:
        listed = uv("pip", "list", "--format", "json", "--python", str(self.python))
        return {item["name"] for item in json.loads(listed)}

    def run(self, *arguments: str, timeout_s: float = 50) -> "subprocess.CompletedProcess[str]":
        """Run Python here; a failure shows what was printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        finished = subprocess.run(
            [str(self.python), *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert finished.returncode == 0, f"{finished.args}\n{finished.stdout}\n{finished.stderr}"
        return finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheels:
    """Every distribution of the workspace as a wheel, in one folder."""

    folder: Path

    def of(self, distribution: str) -> Path:
        (wheel,) = self.folder.glob(f"{distribution.replace('-', '_')}-*.whl")
        return wheel

    def install(self, requirement: str, into: Path, *options: str) -> Environment:
        """Make a clean environment and install *requirement* as a user would."""
        environment = Environment(folder=into)
        uv("venv", "--quiet", "--python", sys.executable, str(into))
        uv(
            *("pip", "install", "--quiet", "--python", str(environment.python)),
            *("--find-links", str(self.folder)),
            *options,
            requirement,
        )
        return environment


def uv(*arguments: str) -> str:
    """Run uv: the one on PATH, else the one beside this Python."""
    program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    finished = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, f"{finished.args}\n{finished.stderr}"
    return finished.stdout


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    folder = tmp_path_factory.mktemp("wheels")
    for member in MEMBERS.values():
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)],
            cwd=ROOT / member,
            check=True,
            capture_output=True,
        )
    return Wheels(folder=folder)
