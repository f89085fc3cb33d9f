"""What no committed file may hold."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Hosts of package registries, and options that name one. The patterns do not match themselves.
REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|crates\.io/api|proxy\.golang\.org|repo1?\.maven"
    r"|buf\.build/|(?:--(?:extra-)?|default-)index(?:-url)?[ =]|\[\[tool\.uv\.index\]\]",
)


def tracked() -> list[Path]:
    """Every file that is committed or would be."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file()]


def test_no_file_names_a_package_index() -> None:
    """Whoever builds behind a mirror changes nothing."""
    found = [
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in tracked()
        if (match := REGISTRIES.search(path.read_bytes().decode("utf-8", errors="replace")))
    ]

    assert found == []


def test_no_lock_of_uv() -> None:
    """`uv.lock` names an index; requirements/*.txt are the locks."""
    assert ROOT / "uv.lock" not in tracked()


def test_every_locked_package_has_a_hash() -> None:
    """What is installed is what was locked."""
    for lock in ROOT.glob("requirements/*.txt"):
        blocks = re.split(r"\n(?=\S)", lock.read_text(encoding="utf-8"))
        locked = [block for block in blocks if re.match(r"[a-z0-9]", block)]
        assert locked
        assert [block for block in locked if "--hash=sha256:" not in block] == []
