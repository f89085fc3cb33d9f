"""Hooks around runs that end in four ways, and a chain: each hook is recorded once."""

from collections import Counter
from typing import Any

from aiki_client import Client, Run
from aiki_sdk import Failure, HookInfo, sleep, task, workflow
from aiki_workflow import events
from examples.language.waiting import until

EXPECTED = {
    "completed": ["started", "sleeping", "completed", "completed"],
    "failed": ["started", "sleeping", "failed", "failed"],
    "cancelled": ["started", "sleeping", "cancelled", "cancelled"],
    "timed_out": ["timed_out", "timed_out"],
    "chain": ["started", "completed", "completed"],
}


@task
async def told(info: HookInfo) -> str:
    """Which of them it is."""
    return info.phase


@workflow(before=[told], on_sleep=[told], on_complete=[told], on_error=[told], on_cancel=[told], after=[told])
async def guarded(how: str) -> str:
    """Ends as it is told."""
    await sleep("20ms" if how in {"completed", "failed"} else "1d")
    if how == "failed":
        raise Failure(how)
    return how


@workflow(before=[told], on_complete=[told], after=[told])
async def chained(left: int) -> int:
    """Goes on as another."""
    if left:
        chained.continue_as_new(left - 1)
    return left


async def scenario(client: Client) -> dict[str, list[str]]:
    """The phases that the hooks of each run were told, by how it ended."""
    runs: dict[str, Run[Any]] = {}
    for how in ("completed", "failed", "cancelled", "timed_out"):
        flow = guarded.with_(id=how, timeout="300ms" if how == "timed_out" else "1d")
        runs[how] = await client.start(flow, how)
    await _sleeps(runs["cancelled"])
    await runs["cancelled"].cancel()
    found = {how: await _phases(run) for how, run in runs.items()}
    # Its time may be up before it has come far, when its worker died.
    found["timed_out"] = found["timed_out"][-2:]
    await (await client.start(chained.with_(id="chain"), 2)).result("30s")
    phases: list[str] = []
    run: Run[Any] | None = await client.run("chain")
    while run is not None:
        phases = [*await _phases(run), *phases]
        before = (await run.describe()).continued_from
        run = await client.get_run(before) if before else None
    return found | {"chain": phases}


async def _sleeps(run: Run[Any]) -> None:
    await until(run.describe, lambda view: any(timer.address.startswith("sleep/") for timer in view.timers))


async def _phases(run: Run[Any]) -> list[str]:
    view = await run.wait("30s") if not (await run.describe()).state.is_closed else await run.describe()
    history = [event async for event in run.history()]
    dropped = {event.address for event in history if isinstance(event, events.TaskCancelled)}
    outputs = [
        event.output.data.decode().strip('"')
        for event in history
        if isinstance(event, events.TaskCompleted) and event.address not in dropped
    ]
    assert max(Counter(outputs).values(), default=0) <= 2, (view.state, outputs)
    return outputs
