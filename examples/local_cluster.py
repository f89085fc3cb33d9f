"""A small cluster of real processes on this machine, for the demo, the benchmark and the tests.

Every process it starts ends with it: stopped in order on a clean exit, and through
`--parent` when this process itself is killed.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 15.0
POLL_SECONDS = 0.01


class ClusterError(RuntimeError):
    """A process of the cluster did not start; its log is in the message."""


class LocalCluster:
    """Coordinators and workers as child processes; data and logs in *folder*."""

    def __init__(self, folder: Path, *, lease_ttl: str = "3s") -> None:
        self.folder = folder
        self.lease_ttl = lease_ttl
        self.address = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._coordinators: set[str] = set()

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Workers go before the coordinators they hang on.
        for name in sorted(self.processes, key=lambda name: name in self._coordinators):
            self.stop(name)

    def start_coordinator(
        self,
        name: str = "coordinator",
        *,
        listen: str = "127.0.0.1:0",
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> str:
        """Start a coordinator and wait until it serves; returns its address.

        Without a `--store` among *options* it has an embedded store in the folder.
        """
        self._coordinators.add(name)
        ready_file = self.folder / f"{name}.ready"
        ready_file.unlink(missing_ok=True)
        store = () if "--store" in options else ("--data", str(self.folder / "data"))
        command = ("-m", "aiki_server", "server", "--listen", listen, "--lease-ttl", self.lease_ttl, *store)
        self._spawn(name, [*command, "--ready-file", str(ready_file), *options], environment)
        address: str = json.loads(self._wait_for_file(name, ready_file))["address"]
        self.address = self.address or address
        return address

    def start_worker(
        self,
        name: str,
        module: str,
        *,
        slots: int = 100,
        options: Sequence[str] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        """Start a worker that serves *module*; it connects on its own."""
        command = ["-m", "aiki_worker", module, "--address", self.address, "--identity", name]
        self._spawn(name, [*command, "--slots", str(slots), *options], environment)

    def pid(self, name: str) -> int:
        """The process id of *name*."""
        return self.processes[name].pid

    def is_alive(self, name: str) -> bool:
        """Whether *name* still runs."""
        return self.processes[name].poll() is None

    def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        process = self.processes.pop(name)
        process.kill()
        process.wait(STOP_SECONDS_MAX)

    def stop(self, name: str) -> int:
        """SIGTERM, then SIGKILL if it does not go; returns the exit status."""
        process = self.processes.pop(name)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(STOP_SECONDS_MAX)

    def log(self, name: str) -> str:
        """What *name* has written so far."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def _spawn(self, name: str, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
        if name in self.processes:
            message = f"process {name!r} runs already: stop it first"
            raise ClusterError(message)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [sys.executable, *arguments, "--parent", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(environment or {})},
                # Ctrl-C is for the program in front; it stops its children itself.
                start_new_session=True,
            )

    def _wait_for_file(self, name: str, path: Path) -> str:
        give_up_at = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < give_up_at:
            if path.exists() and (text := path.read_text(encoding="utf-8")).strip():
                return text
            if not self.is_alive(name):
                break
            time.sleep(POLL_SECONDS)
        message = f"{name} did not start:\n{self.log(name)[-2000:]}"
        raise ClusterError(message)
