"""What type checkers must see of the client; read by mypy and pyright, and run to show that it imports."""

from pathlib import Path
from typing import Any, assert_type

import aiki_sdk
from aiki_sdk import Blocking, Client, Run, signal, workflow
from aiki_workflow import events

approved = signal("approved", bool)


@workflow(version="1")
async def double(number: int, *, name: str = "") -> float:
    return number * 2.0


async def starts(client: Client) -> None:
    """Arguments are checked, results are known, options change neither."""
    run = await client.start(double, 1, name="a")
    assert_type(run, Run[float])
    assert_type(await run.result(timeout="1m"), float)
    assert_type(await client.start(double.with_(id="d-1"), 1), Run[float])
    assert_type(await client.start_by_name("double", 1), Run[Any])
    assert_type(await client.run("d-1", double), Run[float])
    assert_type(await client.get_run("1-ab"), Run[Any])
    await run.signal(approved, value=True)
    async for event in run.history(follow=True):
        assert_type(event, events.Event)


async def wrong_starts(client: Client, run: Run[float]) -> None:
    """What does not fit is reported: each ignore below would be unused otherwise, which mypy refuses."""
    await client.start(double, "1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await client.start(double, 1, names="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await run.signal(approved, "yes")  # type: ignore[misc]  # pyright: ignore[reportArgumentType]


def blocks() -> None:
    """The blocking wrapper keeps every type."""
    with Blocking() as block:
        client = block.enter(Client.connect())
        assert_type(client, Client)
        run = block(client.start(double, 1))
        assert_type(run, Run[float])
        assert_type(block(run.result()), float)
        for event in block.each(run.history()):
            assert_type(event, events.Event)


def runs() -> None:
    """`aiki_sdk.run` is typed like a call of the workflow."""
    assert_type(aiki_sdk.run(double, 1, name="a"), float)
    assert_type(aiki_sdk.run(double, 1, data=Path("data")), float)
    aiki_sdk.run(double, "1")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_imports() -> None:
    """The names above exist."""
    assert callable(aiki_sdk.run)
