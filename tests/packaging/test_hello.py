"""The first program of the README runs from wheels, with nothing else started."""

import sys
from pathlib import Path

import pytest

from tests.docs.markdown import fences
from tests.packaging.conftest import ROOT, Wheels

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(sys.platform == "win32", reason="the embedded store does not run on Windows"),
]

NEWEST = ("-c", str(ROOT / "requirements/dev.txt"))
OLDEST = ("--resolution", "lowest-direct")


def hello() -> str:
    return next(fence.code for fence in fences(ROOT / "README.md") if fence.heading == "Hello, world")


def test_is_at_most_ten_lines() -> None:
    """Hello world stays a glance."""
    assert len([line for line in hello().splitlines() if line.strip()]) <= 10


@pytest.mark.timeout(120)
@pytest.mark.parametrize("versions", [NEWEST, OLDEST], ids=["locked", "oldest"])
def test_runs_from_wheels(versions: tuple[str, ...], wheels: Wheels, tmp_path: Path) -> None:
    """With the locked and with the oldest versions that the wheels accept."""
    environment = wheels.install("aiki-sdk[embedded]", tmp_path / "venv", *versions)
    program = tmp_path / "hello.py"
    program.write_text(hello(), encoding="utf-8")

    finished = environment.run(str(program))

    assert finished.stdout == "Hello, Ada!\n"
