"""The README's example is run: its program, and its commands, word for word."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.docs.markdown import fences
from tests.support.waiting import eventually

README = Path(__file__).parents[2] / "README.md"
STAYS = ("aiki dev", "aiki worker")


async def test_the_example_of_the_readme(tmp_path: Path) -> None:
    """Those that stay do so in the background; every other one ends well, and shows what the text says."""
    blocks = list(fences(README))
    [program] = [block.code for block in blocks if block.language == "python" and "purchase" in block.code]
    [commands] = [block.code for block in blocks if block.language == "bash" and "purchase" in block.code]
    (tmp_path / "shop.py").write_text(program, encoding="utf-8")
    environment = _environment()

    with ExitStack() as stack:
        told: dict[str, str] = {}
        for line in commands.splitlines():
            command = line.partition("  #")[0].strip()
            if command.startswith(STAYS):
                stack.enter_context(_background(command, tmp_path, environment))
            else:
                told[" ".join(shlex.split(command)[:3])] = await _told(command, tmp_path, environment)

    assert "purchase" in told["aiki run show"]
    assert "charge" in told["aiki run history"]


async def _told(command: str, folder: Path, environment: dict[str, str]) -> str:
    """What it prints, once whoever it asks is there."""
    told: list[str] = []

    async def is_done() -> bool:
        finished = subprocess.run(  # noqa: ASYNC221  nothing else goes on here
            shlex.split(command), cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        told.append(finished.stdout)
        # The history is there before the first step of it is.
        return finished.returncode == 0 and ("history" not in command or "charge" in finished.stdout)

    await eventually(is_done, command, seconds=30)
    return told[-1]


class _background:  # noqa: N801  a context manager
    """A command that stays until Ctrl-C."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environment, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> None:
        return

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)


def _environment() -> dict[str, str]:
    """A port of this test's own, where the README has the default one."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    return os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "AIKI_SERVER_LISTEN": address,
        "AIKI_WORKER_ADDRESS": address,
        "AIKI_ADDRESS": address,
    }
