"""The code of the release before this one, beside ours: its sources, for processes that run it."""

import os
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PREVIOUS = "3da696f"
"""What a cluster may run while it is upgraded to this version: the tag of the last release, once there is one."""
SOURCES = (
    "proto/gen",
    "aiki_sdk/src",
    "aiki_sdk/task/src",
    "aiki_sdk/workflow/src",
    "aiki_sdk/client/src",
    "aiki_worker/src",
    "aiki_server/src",
)


def is_checkout() -> bool:
    """Whether there is a history to take it from; a source archive has none."""
    return (ROOT / ".git").exists()


def unpack(folder: Path) -> dict[str, str]:
    """Unpack it into *folder*; the environment in which a process runs it."""
    archive = folder / "previous.tar"
    subprocess.run(["git", "archive", "--output", str(archive), PREVIOUS, *SOURCES], cwd=ROOT, check=True)
    with tarfile.open(archive) as sources:
        sources.extractall(folder, filter="data")
    return {"PYTHONPATH": os.pathsep.join(str(folder / source) for source in SOURCES)}
