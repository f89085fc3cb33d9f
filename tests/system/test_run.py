"""`aiki_sdk.run`: an engine for the time of one call."""

import signal
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import psutil
import pytest

import aiki_sdk
from aiki_sdk import embedded
from aiki_sdk.errors import EmbeddedEngineMissingError
from tests.support.waiting import eventually
from tests.system.client_workflows import Order, OutOfStock, buy, doze, sell

SLEEPER = """
import aiki_sdk

@aiki_sdk.task
async def say() -> None:
    print("started", flush=True)

@aiki_sdk.workflow(version="1")
async def hello() -> None:
    await say()
    await aiki_sdk.sleep("1h")

aiki_sdk.run(hello)
"""
HELLO = """
import aiki_sdk

@aiki_sdk.workflow(version="1")
async def hello(name: str) -> str:
    return f"Hello, {name}!"

print(aiki_sdk.run(hello, "Ada"))
"""


def test_a_program_of_its_own(tmp_path: Path) -> None:
    """The workflow is in `__main__`; only its result is on stdout, only logs are on stderr."""
    program = tmp_path / "hello.py"
    program.write_text(HELLO, encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False
    )

    assert (finished.returncode, finished.stdout) == (0, "Hello, Ada!\n"), finished.stderr
    assert "Traceback" not in finished.stderr
    assert list(tmp_path.iterdir()) == [program]


def test_data_is_kept_where_it_is_named(tmp_path: Path) -> None:
    """A second call with the same id and arguments finds the run of the first."""
    before = psutil.Process().children(recursive=True)
    once = buy.with_(id="order-1")
    assert aiki_sdk.run(once, Order(id="tea", amount=7), data=tmp_path / "data") == "receipt for tea"

    with pytest.raises(aiki_sdk.WorkflowIdTaken):
        aiki_sdk.run(once, Order(id="jam", amount=7), data=tmp_path / "data")
    assert aiki_sdk.run(once, Order(id="tea", amount=7), data=tmp_path / "data") == "receipt for tea"
    assert psutil.Process().children(recursive=True) == before


def test_failures_are_raised() -> None:
    """As themselves, and the engine is gone."""
    before = psutil.Process().children(recursive=True)
    with pytest.raises(OutOfStock, match="no tea left"):
        aiki_sdk.run(sell, "tea")

    assert psutil.Process().children(recursive=True) == before


def _start(program: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, cwd=program.parent
    )


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGKILL])
async def test_no_orphans(stop: signal.Signals, tmp_path: Path) -> None:
    """Neither Ctrl-C nor SIGKILL leaves a process behind."""
    program = tmp_path / "sleeper.py"
    program.write_text(SLEEPER, encoding="utf-8")
    process = _start(program)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert children

    process.send_signal(stop)
    status = process.wait(30)

    async def are_gone() -> bool:
        return not psutil.wait_procs(children, timeout=0)[1]

    await eventually(are_gone, f"{children} are gone")
    process.stdout.close()
    assert status in {-stop, 130}


async def test_refuses_to_block_a_running_loop() -> None:
    """Async code uses the client."""
    with pytest.raises(RuntimeError, match="event loop"):
        aiki_sdk.run(doze, "0s")


@pytest.mark.parametrize(
    ("missing", "platform", "told"),
    [
        ("aiki_worker", "linux", r"pip install 'aiki-sdk\[embedded\]'"),
        ("", "win32", "does not exist for Windows"),
    ],
)
def test_says_what_is_missing(
    missing: str, platform: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The extra, or another system."""

    def find_spec(name: str) -> ModuleSpec | None:
        return None if name == missing else ModuleSpec(name, None)

    monkeypatch.setattr(embedded, "find_spec", find_spec)
    monkeypatch.setattr(sys, "platform", platform)

    with pytest.raises(EmbeddedEngineMissingError, match=told):
        aiki_sdk.run(doze, "0s")
