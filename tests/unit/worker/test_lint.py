"""What lint finds beyond one line: identical calls, sets by name, and what workflows use of other functions."""

import os
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from aiki_worker.tools.lint import lint
from aiki_worker.tools.rules import findings

HEAD = """\
import asyncio, time
from aiki_sdk import Retry, random, sleep, task, workflow

@task
async def read(name: str) -> str: ...

@task
async def beat() -> None: ...

@workflow
async def ships(order: str) -> str: ...

@workflow
async def flow(name: str, other: str, urgent: bool, names: set[str]) -> None:
"""


def _found(body: str) -> list[tuple[str, int]]:
    text = "".join(f"    {line}\n" for line in dedent(body).strip().splitlines())
    lines_before = HEAD.count("\n")
    return [(finding.code, finding.line - lines_before) for finding in findings(HEAD + text)]


@pytest.mark.parametrize(
    "body",
    [
        "await read(name)\nawait read(name)",
        "a = await read('x')\nb = await read('x')",
        "await read(name=name)\nawait read(name=name)",
        "await asyncio.gather(read(name), read(name))",
        "await ships(name)\nawait ships(name)",
        "await ships.start(name)\nawait ships(name)",
        "await read.with_(retry=Retry.none())(name)\nawait read(name)",
        "await read(name)\nif urgent:\n    await read(name)",
        "for x in [1, 2]:\n    await read(name)\n    await read(name)",
        "try:\n    await read(name)\nfinally:\n    await read(name)",
    ],
)
def test_calls_that_only_their_order_tells_apart(body: str) -> None:
    """The second is told to have a key."""
    found = _found(body)

    assert [code for code, _ in found] == ["AIKI115"]
    assert found[0][1] == len(body.splitlines())


@pytest.mark.parametrize(
    "body",
    [
        "await read(name)\nawait read(other)",
        "await read.with_(key='first')(name)\nawait read.with_(key='second')(name)",
        "await ships.with_(id='a')(name)\nawait ships.with_(id='b')(name)",
        "if urgent:\n    await read(name)\nelse:\n    await read(name)",
        "if urgent:\n    await read(name)\n    return\nawait read(name)",
        "match name:\n    case 'a':\n        await read(name)\n    case _:\n        await read(name)",
        "x = 'a'\nawait read(x)\nx = 'b'\nawait read(x)",
        "await read(str(random().random()))\nawait read(str(random().random()))",
        "while True:\n    await beat()",
        "await sleep('1s')\nawait sleep('1s')",
    ],
)
def test_calls_that_are_told_apart(body: str) -> None:
    """By their arguments or a key, or since only one of them is made."""
    assert _found(body) == []


@pytest.mark.parametrize(
    "body",
    [
        "for x in names:\n    await read(x)",
        "mine = set(name)\nfor x in mine:\n    await read(x)",
        "mine = {1, 2}\nawait asyncio.gather(*[read(str(x)) for x in mine])",
        "for x in names | {name}:\n    await read(x)",
        "for x in names.union([name]):\n    await read(x)",
    ],
)
def test_loops_whose_order_differs(body: str) -> None:
    """Over what is a set by its value, or by what its parameter says."""
    assert {code for code, _ in _found(body)} == {"AIKI111"}


def test_loops_whose_order_is_the_same() -> None:
    """Sorted, or not a set any more."""
    assert _found("for x in sorted(names):\n    await read(x)") == []
    assert _found("mine = set(name)\nmine = sorted(mine)\nfor x in mine:\n    await read(x)") == []


MODULE = """\
import time
from aiki_sdk import task, workflow

def stamp() -> float:
    return _clock()

def _clock() -> float:
    return time.time()

def unused() -> float:
    return time.time()

@task
def measured() -> float:
    return _elsewhere()

def _elsewhere() -> float:
    return time.time()

class Ledger:
    def __init__(self) -> None:
        self.opened = time.time()

    def close(self) -> float:
        return time.time()

    def report(self) -> float:
        return time.time()

@workflow
async def flow() -> None:
    await measured()
    stamp()
    Ledger().close()
"""


def test_functions_of_the_module_are_followed() -> None:
    """As far as workflows use them; what tasks use is theirs."""
    found = findings(MODULE)

    assert [(finding.code, finding.line) for finding in found] == [
        ("AIKI101", 8),
        ("AIKI101", 22),
        ("AIKI101", 25),
    ]
    assert all("(workflow flow comes here)" in finding.message for finding in found)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A package whose workflows use other modules of it, in several ways."""
    files = {
        "shop/__init__.py": "from shop.clocks import exact\n",
        "shop/clocks.py": """
            import time
            def exact() -> float:
                return time.time()
            def rough() -> float:
                return time.time()
            def never() -> float:
                return time.time()
        """,
        "shop/flows/__init__.py": "",
        "shop/flows/orders.py": """
            import json
            from aiki_sdk import workflow
            import shop
            from .. import clocks
            from shop.tasks import charge

            @workflow
            async def order() -> None:
                json.dumps([shop.exact(), clocks.rough()])
                charge("ada")
                await charge("bob")
                await charge("bob")
        """,
        "shop/tasks.py": "from aiki_sdk import task\n@task\nasync def charge(who: str) -> None: ...\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip())
    return tmp_path / "shop"


@pytest.mark.parametrize("asked", ["flows/orders.py", "."])
def test_modules_of_the_package_are_followed(shop: Path, asked: str) -> None:
    """Each place is told once, in the file it is in; the standard library is not read."""
    result = CliRunner().invoke(lint, [str(shop / asked)], standalone_mode=False)

    assert result.return_value == 1, result.output
    places = [line.partition(" ")[0] + line.partition(" ")[2][:8] for line in result.output.splitlines()]
    clocks, orders = shop / "clocks.py", shop / "flows" / "orders.py"
    assert places == [
        f"{clocks}:3:12:AIKI101 ",
        f"{clocks}:5:12:AIKI101 ",
        f"{orders}:10:5:AIKI114 ",
        f"{orders}:12:11:AIKI115 ",
    ]


def test_modules_are_found_from_within_the_package(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder one is in makes no difference."""
    monkeypatch.chdir(shop / "flows")
    result = CliRunner().invoke(lint, ["orders.py"], standalone_mode=False)

    assert result.output.count("AIKI101") == 2
    assert os.fspath(Path("..", "..", "shop", "clocks.py")) in result.output
