"""Real worker processes at the cost of a fork: one process imports everything, and forks a worker for each line it reads.

A line is the arguments of `aiki worker` as a JSON list; the answer is the pid of the new worker. All of them end
with the nursery, which ends when its input does.
"""

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from aiki_worker.command import worker

PRELOAD = ("aiki_worker.worker", "aiki_worker.handlers", "aiki_worker.settings", "aiki_client", "pydantic")


class Nursery:
    """The parent of workers; *modules* are imported before the first is born."""

    def __init__(self, modules: Sequence[str], log: Path) -> None:
        self._modules = modules
        self._log = log
        self._living: set[int] = set()

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *self._modules],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in list(self._living):
            self.kill(pid)
        self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        self._process.stdout.close()  # type: ignore[union-attr]  # it is a pipe
        self._process.wait(10)

    def start(self, *arguments: str) -> int:
        """A worker with these arguments of `aiki worker`; its pid."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(arguments) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the nursery is gone:\n{self._log.read_text(encoding='utf-8')[-2000:]}"
        self._living.add(int(answer))
        return int(answer)

    def kill(self, pid: int) -> None:
        """SIGKILL, unless that was done before."""
        if pid in self._living:
            self._living.discard(pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _main() -> None:
    for module in (*PRELOAD, *sys.argv[1:]):
        importlib.import_module(module)
    # Nobody waits for them one by one.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    nursery = os.getpid()
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            worker([*json.loads(line), "--parent", str(nursery)])
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
