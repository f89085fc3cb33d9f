"""Each rule finds what it is for, in workflows only, whatever the import looks like."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from aiki_worker.tools.lint import lint
from aiki_worker.tools.rules import findings

HEAD = """\
import asyncio, os, random, subprocess, threading, time, uuid
import datetime as dt
import urllib.request
from datetime import datetime
from pathlib import Path
from time import sleep as doze
from aiki_sdk import task, workflow

@task
async def charge() -> None: ...

@workflow
async def flow() -> None:
"""


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("AIKI101", "datetime.now()"),
        ("AIKI101", "dt.datetime.now()"),
        ("AIKI101", "time.time()"),
        ("AIKI102", "random.random()"),
        ("AIKI103", "uuid.uuid4()"),
        ("AIKI104", "doze(1)"),
        ("AIKI105", "open('file')"),
        ("AIKI105", "Path('file').read_text()"),
        ("AIKI106", "subprocess.run(['ls'])"),
        ("AIKI107", "threading.Thread()"),
        ("AIKI108", "urllib.request.urlopen('http://localhost')"),
        ("AIKI109", "await asyncio.to_thread(print)"),
        ("AIKI110", "os.environ['HOME']"),
        ("AIKI110", "os.getenv('HOME')"),
        ("AIKI111", "[x for x in {1, 2}]"),
        ("AIKI111", "for x in set(names): pass"),
        ("AIKI113", "global total"),
        ("AIKI114", "charge()"),
    ],
)
def test_each_rule(code: str, line: str) -> None:
    """The finding is on the line, and names what to write."""
    (found,) = findings(f"{HEAD}    {line}\n")

    assert found.code == code
    assert found.line == HEAD.count("\n") + 1
    assert ":" in found.message


def test_swallowed_cancellation() -> None:
    """Unless it is raised again."""
    swallowed = "    try:\n        await charge()\n    except BaseException:\n        pass\n"
    raised = swallowed.replace("pass", "raise")

    assert [found.code for found in findings(HEAD + swallowed)] == ["AIKI112"]
    assert findings(HEAD + raised) == []


@pytest.mark.parametrize(
    "source",
    [
        "import time\nfrom aiki_sdk import task\n@task\ndef reads() -> float:\n    return time.time()\n",
        "import time\ndef reads() -> float:\n    return time.time()\n",
        f"{HEAD}    await charge()\n",
        f"{HEAD}    for x in sorted({{1, 2}}): pass\n",
        f"{HEAD}    datetime.now()  # aiki: allow\n",
    ],
)
def test_what_is_allowed(source: str) -> None:
    """Tasks do what they like, and whoever says so as well."""
    assert findings(source) == []


def test_methods_of_a_workflow_class() -> None:
    """They run in the workflow."""
    source = "import time\nimport aiki_sdk\n@aiki_sdk.workflow\nclass Cart:\n    def total(self):\n        time.time()\n"

    assert [found.code for found in findings(source)] == ["AIKI101"]


def test_the_command(tmp_path: Path) -> None:
    """Places as editors read them; 1 when there are findings."""
    (tmp_path / "good.py").write_text(f"{HEAD}    await charge()\n")
    runner = CliRunner()
    assert runner.invoke(lint, [str(tmp_path)], standalone_mode=False).return_value == 0
    bad = tmp_path / "bad.py"
    bad.write_text(f"{HEAD}    time.sleep(1)\n")

    result = runner.invoke(lint, [str(tmp_path)], standalone_mode=False)

    assert result.return_value == 1
    assert result.output == (
        f"{bad}:14:5: AIKI104 time.sleep() blocks the worker: use await sleep(duration)\n"
    )
    bad.write_text("def")
    assert "bad.py" in runner.invoke(lint, [str(bad)]).output
