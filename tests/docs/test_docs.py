"""What the documentation shows is true."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import Fence, fences

ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def blocks(language: str, *words: str) -> list[Fence]:
    every = (fence for page in pages() for fence in fences(page))
    return [fence for fence in every if fence.language == language and {*words} <= {*fence.words}]


def name(fence: Fence) -> str:
    return f"{fence.path.relative_to(ROOT)}:{fence.line}"


@pytest.mark.parametrize("fence", blocks("python"), ids=name)
def test_python_compiles(fence: Fence) -> None:
    """A reader can paste it."""
    compile(fence.code, name(fence), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


@pytest.mark.parametrize("fence", blocks("bash"), ids=name)
def test_bash_parses(fence: Fence) -> None:
    """A reader can paste it."""
    subprocess.run(["bash", "-n"], input=fence.code, text=True, check=True)


@pytest.mark.parametrize("fence", [*blocks("python", "run"), *blocks("bash", "run")], ids=name)
def test_runs(fence: Fence, tmp_path: Path) -> None:
    """A block whose fence says `run` does, in an empty folder."""
    program = [sys.executable, "-"] if fence.language == "python" else ["bash", "-euo", "pipefail"]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    finished = subprocess.run(
        program,
        input=fence.code,
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_links_lead_somewhere() -> None:
    """Every relative link of a page names a file that is there."""
    dead = [
        f"{page.relative_to(ROOT)} -> {target}"
        for page in pages()
        for target in links(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]

    assert dead == []


def links(text: str) -> list[str]:
    targets = [part.split(")", 1)[0] for part in text.split("](")[1:]]
    return [bare for target in targets if "://" not in target and (bare := target.split("#")[0])]
