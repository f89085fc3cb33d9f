"""The demo does what the README says of it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_finds_a_tampered_file() -> None:
    """One changed byte in a scratch environment is found, by both programs alike, in spite of the kill."""
    finished = subprocess.run(
        [sys.executable, "-m", "examples.audit", "--tamper"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "mismatches: 1" in finished.stdout
    assert "changed since it was installed" in finished.stdout
    assert "killed with SIGKILL" in finished.stdout
