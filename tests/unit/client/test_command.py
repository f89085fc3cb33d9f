"""The command line is read strictly, and broken plug-ins are named."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from aiki_client import RunState, RunView
from aiki_client.cli import output, program
from aiki_client.cli.program import main

Aiki = Callable[..., int]
FULL = Path("/dev/full")
RUN = RunView(
    namespace="default",
    run_id="16384-0123456789abcdef0123",
    workflow_id="purchase-0123456789abcdef0123456789abcdef",
    workflow="purchase",
    version="1",
    queue="default",
    state=RunState.WAITING,
    start_time=datetime(2026, 1, 2, tzinfo=UTC),
    close_time=None,
    history_length=3,
    output=None,
    failure=None,
    worker="",
    waiting_for="",
    tasks=(),
)


@pytest.fixture
def aiki(monkeypatch: pytest.MonkeyPatch) -> Aiki:
    """Runs the command in this process; returns its exit status."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["aiki", *arguments])
        return main()

    return run


def test_version(aiki: Aiki, capsys: pytest.CaptureFixture[str]) -> None:
    """`aiki --version` says which."""
    assert aiki("--version") == 0
    assert capsys.readouterr().out.startswith("aiki, version ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "start", "hello", "Ada"], "a text is written '\"Ada\"'"),
        (["run", "start", "hello", "NaN"], "NaN is not a number that JSON has"),
        (["run", "start"], "WORKFLOW"),
        (["run", "start", "hello", "--id-policy", "guess"], "return_existing"),
        (["run", "wait", "r", "--timeout", "soon"], "'soon' is not a duration"),
        (["run", "list", "--state", "lost"], "stalled"),
        (["run", "signal", "r", "approved", "yes"], "not JSON"),
        (["run", "show", "r", "--address", "http://a"], "is no address of a coordinator"),
        (["nothing"], "No such command"),
    ],
)
def test_usage_errors(
    arguments: list[str], told: str, aiki: Aiki, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, on stderr, and nothing is sent."""
    assert aiki(*arguments) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert told in printed.err
    assert "Traceback" not in printed.err


def _install(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        return [point for point in points if point.group == group and name in {None, point.name}]

    monkeypatch.setattr(program, "entry_points", entry_points)


def test_missing_plug_in(
    aiki: Aiki, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names what to install."""
    _install(monkeypatch)

    assert aiki("worker", "shop") == 2
    assert "pip install 'aiki-worker'" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["no_such_module:command", "json:loads", "json:no_such_name"])
def test_broken_plug_in(
    value: str, aiki: Aiki, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is named, in one sentence, and the others still work."""
    _install(
        monkeypatch,
        EntryPoint("broken", value, program.GROUP),
        EntryPoint("run", "aiki_client.command:run", program.GROUP),
    )

    assert aiki("broken") == 1
    printed = capsys.readouterr().err
    assert value in printed
    assert "Traceback" not in printed

    assert aiki("run", "--help") == 0


def test_unreachable_is_one_sentence(aiki: Aiki, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 3, whatever was asked."""
    assert aiki("run", "show", "order-1", "--address", "127.0.0.1:1", "--json") == 3

    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert "127.0.0.1:1: Connection refused" in printed.err


def test_json_arguments_are_json(aiki: Aiki) -> None:
    """What `json.dumps` writes is read; the coordinator is what is missing then."""
    value = json.dumps({"id": "o-1", "lines": ["tea"], "amount": 7})

    assert (
        aiki("run", "start", "purchase", value, "--keyword", "by", '"ada"', "--address", "127.0.0.1:1") == 3
    )


@pytest.mark.skipif(not FULL.exists(), reason="this system has no full device")
def test_output_that_cannot_be_written() -> None:
    """A full disk is one sentence and status 1."""
    program = "import sys; from aiki_client.cli import main; sys.exit(main())"
    with FULL.open("w", encoding="utf-8") as full:
        finished = subprocess.run(
            [sys.executable, "-c", program, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert finished.returncode == 1
    assert finished.stderr == "aiki: the output cannot be written: No space left on device\n"


def test_closed_output(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then Python has no stdout at all; what is printed goes nowhere."""
    monkeypatch.setattr(sys, "stdout", None)

    output.console().print("nobody reads this")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_ids_stay_whole_in_narrow_terminals(columns: int) -> None:
    """They are there to be copied."""
    printed = StringIO()
    Console(file=printed, width=columns).print(output.runs_table([RUN]))

    assert RUN.run_id in printed.getvalue()
    assert "waiting" in printed.getvalue()
