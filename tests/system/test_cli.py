"""`aiki run` as a person and as a script use it: what it prints, and its exit statuses."""

import json
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from aiki_client import Blocking, Client
from examples.local_cluster import LocalCluster
from tests.system.client_workflows import Order, buy, doze

AIKI = (sys.executable, "-c", "import sys; from aiki_client.cli import main; sys.exit(main())")


class Aiki:
    """Runs `aiki run …` against the cluster."""

    def __init__(self, address: str) -> None:
        self.address = address

    def __call__(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*AIKI, "run", command, "--address", self.address, *arguments],
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    def json(self, command: str, *arguments: str, status: int = 0) -> dict[str, object]:
        """What it prints with `--json`."""
        finished = self(command, "--json", *arguments)
        assert finished.returncode == status, finished.stderr
        parsed: dict[str, object] = json.loads(finished.stdout)
        return parsed


@pytest.fixture
def aiki(cluster: LocalCluster) -> Aiki:
    """The command."""
    return Aiki(cluster.address)


def test_start_and_wait(aiki: Aiki) -> None:
    """The result is printed as JSON; with `--json`, the whole run."""
    order = json.dumps({"id": "tea", "amount": 7})
    people = aiki("start", "buy", order, "--wait")
    run = aiki.json("start", "buy", "--keyword", "order", order, "--wait")

    assert (people.returncode, people.stdout, people.stderr) == (0, '"receipt for tea"\n', "")
    assert (run["state"], run["output"], run["failure"]) == ("completed", "receipt for tea", None)


def test_a_failed_run(aiki: Aiki) -> None:
    """Status 1; the failure on stderr for people, in the document for programs."""
    people = aiki("start", "sell", '"tea"', "--wait")
    failed = aiki.json("start", "sell", '"tea"', "--wait", status=1)

    assert people.returncode == 1
    assert people.stdout == ""
    assert "failed: OutOfStock: no tea left" in people.stderr
    assert "Traceback" not in people.stderr
    assert failed["state"] == "failed"
    assert isinstance(failed["failure"], dict)
    assert failed["failure"]["type"] == "OutOfStock"


def test_a_stalled_run(aiki: Aiki) -> None:
    """Status 5 and the traceback; it can be resumed; one that is not stalled cannot."""
    workflow_id = f"buggy-{uuid4().hex}"
    stalled = aiki("start", "buggy", '"Ada"', "--version", "2", "--id", workflow_id, "--wait")
    assert stalled.returncode == 5
    assert "no_such_method" in stalled.stderr

    resumed = aiki("resume", workflow_id)
    assert (resumed.returncode, resumed.stdout) == (0, "")
    assert resumed.stderr.startswith("resumed ")

    asked = str(aiki.json("start", "ask", '"may I?"')["run_id"])
    refused = aiki("resume", asked)
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1


def test_a_run_by_hand(aiki: Aiki) -> None:
    """Started, shown, waited for in vain, signalled, waited for; by workflow id as by run id."""
    workflow_id = f"ask-{uuid4().hex}"
    started = aiki("start", "ask", '"may I?"', "--id", workflow_id)
    run_id = started.stdout.strip()
    again = aiki.json("start", "ask", '"may I?"', "--id", workflow_id)
    assert again == {"run_id": run_id, "workflow_id": workflow_id}
    taken = aiki("start", "ask", '"or I?"', "--id", workflow_id)
    assert (taken.returncode, taken.stderr.count("\n")) == (1, 1)
    assert run_id in taken.stderr

    late = aiki("wait", run_id, "--timeout", "100ms")
    assert (late.returncode, late.stdout) == (124, "")
    assert "still open" in late.stderr

    assert aiki.json("signal", workflow_id, "approved", "true")["run_id"] == run_id
    assert aiki("wait", workflow_id).stdout == "true\n"
    shown = aiki("show", run_id).stdout
    assert workflow_id in shown
    assert "completed" in shown
    assert aiki.json("show", workflow_id)["output"] is True


def test_history_and_list(aiki: Aiki) -> None:
    """A line for each event and for each run."""
    with Blocking() as block:
        client = block.enter(Client.connect(aiki.address))
        run = block(client.start(buy, Order(id="tea", amount=7)))
        block(run.result(timeout="30s"))

    people = aiki("history", run.run_id).stdout.splitlines()
    programs = [
        json.loads(line) for line in aiki("history", run.run_id, "--json", "--follow").stdout.splitlines()
    ]
    assert len(people) == len(programs)
    assert [line["index"] for line in programs] == list(range(len(programs)))
    assert (programs[0]["kind"], programs[-1]["kind"]) == ("RunStarted", "RunCompleted")
    assert programs[-1]["output"] == "receipt for tea"
    assert "RunCompleted" in people[-1]

    listed = [
        json.loads(line)
        for line in aiki("list", "--workflow", "buy", "--limit", "5", "--json").stdout.splitlines()
    ]
    assert run.run_id in {line["run_id"] for line in listed}
    table = aiki("list", "--workflow", "buy", "--state", "completed").stdout
    assert table.split()[:2] == ["RUN", "WORKFLOW"]
    assert run.run_id in table


def test_unserved_workflows(aiki: Aiki) -> None:
    """They wait, and say so; or are refused."""
    waits = aiki("start", "doze", '"0s"', "--version", "9")
    assert waits.returncode == 0
    assert "no worker serves doze v9" in waits.stderr

    refused = aiki("start", "doze", '"0s"', "--version", "9", "--require-worker")
    assert (refused.returncode, refused.stdout) == (4, "")


@pytest.mark.parametrize("command", ["show", "history", "wait", "resume"])
def test_runs_that_are_not_there(command: str, aiki: Aiki) -> None:
    """Status 4 and one sentence."""
    missing = aiki(command, "no-such-run")

    assert (missing.returncode, missing.stdout) == (4, "")
    assert missing.stderr == "aiki: run 'no-such-run' not found in namespace 'default'\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "ModuleNotFoundError: No module named 'shop'."),
        ("order = (", "SyntaxError: '(' was never closed (shop.py, line 1)."),
        ("import sys\nimport no_such_part", "No module named 'no_such_part'"),
        ("def price():\n    return 1 / 0\nprice()", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("price = 1", "shop: no workflow and no task found."),
    ],
)
def test_a_worker_whose_module_cannot_be_served(text: str | None, told: str, tmp_path: Path) -> None:
    """It says which, why and where, and what to do, in one line."""
    if text is not None:
        (tmp_path / "shop.py").write_text(text, encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, "-m", "aiki_worker", "shop"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (finished.returncode, finished.stdout, finished.stderr.count("\n")) == (1, "", 1)
    assert told in finished.stderr
    if text is not None and "\n" in text:
        assert f"(raised in {tmp_path / 'shop.py'}, line 2)" in finished.stderr


def test_a_worker_that_is_given_a_file(tmp_path: Path) -> None:
    """A path is no name of a module, and is told so."""
    (tmp_path / "shop.py").touch()

    finished = subprocess.run(
        [sys.executable, "-m", "aiki_worker", "./shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert (finished.returncode, finished.stderr.count("\n")) == (1, 1)
    assert "it is a path, or a relative name. Name it as Python imports it" in finished.stderr


def test_what_a_run_waits_for(aiki: Aiki) -> None:
    """A timer with its times, or a signal; in the table and in the document."""
    napping = str(aiki.json("start", "doze", '"1h"')["run_id"])
    asking = str(aiki.json("start", "ask", '"may I?"')["run_id"])
    assert aiki("wait", asking, "--timeout", "500ms").returncode == 124

    assert "timer sleep/3600000ms/1, since " in aiki("show", napping).stdout
    assert str(aiki.json("show", asking)["waiting_for"]).startswith("a signal or an update, since ")


def test_output_into_a_closed_pipe(aiki: Aiki) -> None:
    """Whoever reads may stop reading: no complaint."""
    run_id = str(aiki.json("start", "doze", '"0s"', "--wait")["run_id"])
    for arguments in (["show", run_id], ["list"], ["history", run_id, "--json"], ["wait", run_id]):
        command = [*AIKI, "run", *arguments, "--address", aiki.address]
        writing = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert writing.stdout is not None
        writing.stdout.close()
        _, told = writing.communicate(timeout=50)

        assert (writing.returncode, told) == (1, "")


def test_interrupted_waiting(aiki: Aiki) -> None:
    """Ctrl-C ends the wait, not the run, with the status of interrupted commands and no traceback."""
    with Blocking() as block:
        client = block.enter(Client.connect(aiki.address))
        run = block(client.start(doze, "1h"))
        command = ["run", "history", run.run_id, "--follow", "--json", "--address", aiki.address]
        following = subprocess.Popen(
            [*AIKI, *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert following.stdout is not None
        assert "RunStarted" in following.stdout.readline()
        following.send_signal(2)
        _, told = following.communicate(timeout=30)

        assert following.returncode == 130
        assert told.strip() == ""
        assert not block(run.describe()).state.is_closed
