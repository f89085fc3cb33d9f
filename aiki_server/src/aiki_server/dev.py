"""`aiki dev`: a coordinator with an embedded store and, if asked, a worker that restarts on changes."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import click

from aiki_server.command import run

WAIT_SECONDS = 0.05
STOP_SECONDS = 15.0


class DevWorker:
    """A worker process beside the coordinator, started once the coordinator serves."""

    def __init__(self, module: str, address_file: Path, *, reload: bool) -> None:
        self._module = module
        self._address_file = address_file
        self._reload = reload
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep_running, daemon=True)

    def start(self) -> None:
        """Wait for the coordinator in the background, then start."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the worker and wait until it is gone."""
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _keep_running(self) -> None:
        import json

        while not self._address_file.exists():
            if self._stopping.wait(WAIT_SECONDS):
                return
        address = json.loads(self._address_file.read_text(encoding="utf-8"))["address"]
        command = [
            sys.executable,
            "-m",
            "aiki_worker",
            self._module,
            "--address",
            address,
            "--exit-with-parent",
        ]
        while not self._stopping.is_set():
            worker = subprocess.Popen(command)  # noqa: S603  our own interpreter and module
            self._wait_for_change(worker)
            worker.terminate()
            try:
                worker.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.kill()

    def _wait_for_change(self, worker: subprocess.Popen[bytes]) -> None:
        """Until the code changes, or the end."""
        if not self._reload:
            while not self._stopping.wait(WAIT_SECONDS) and worker.poll() is None:
                pass
            if worker.poll() is not None:
                self._stopping.wait(1.0)
            return
        import watchfiles

        for _ in watchfiles.watch(
            Path.cwd(), watch_filter=watchfiles.PythonFilter(), stop_event=self._stopping
        ):
            click.echo("code changed: restarting the worker", err=True)
            return


@click.command()
@click.argument("module", required=False)
@click.option("--listen", metavar="HOST:PORT", help="where to serve (default 127.0.0.1:7700)")
@click.option(
    "--data", type=click.Path(path_type=Path), default=Path("aiki-data"), help="the folder of the store"
)
@click.option("--reload", is_flag=True, help="restart the worker when code below this folder changes")
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="write the address here, as JSON, once it serves"
)
def dev(
    module: str | None,
    listen: str | None,
    data: Path,
    reload: bool,  # noqa: FBT001  click passes by name
    ready_file: Path | None,
) -> None:
    """Run a coordinator with an embedded store and, for MODULE, a worker."""
    data.mkdir(parents=True, exist_ok=True)
    ready = ready_file or data / "address.json"
    ready.unlink(missing_ok=True)
    worker = None if module is None else DevWorker(module, ready, reload=reload)
    if worker is not None:
        worker.start()
    try:
        status = run({"listen": listen, "data": data}, ready, exit_with_parent=False)
    finally:
        if worker is not None:
            worker.stop()
    sys.exit(status)
