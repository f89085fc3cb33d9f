"""Runs that are held, moved, delayed and gone back with."""

from aiki_client import Client, RunTimedOutError
from aiki_sdk import signal, sleep, task, workflow
from examples.language.waiting import until

go = signal("go", str)
EXPECTED = ["paused, then on", "woken", "begun", "timed out", "on"]


@task
async def step(text: str) -> str:
    """A step."""
    return text


@workflow
async def waits(text: str) -> str:
    """For a word."""
    first = await step(text)
    return f"{first}, then {await go.wait()}"


@workflow
async def dozes(text: str) -> str:
    """For a day."""
    await sleep("1d")
    return await step(text)


@workflow(timeout="200ms")
async def has_no_time() -> None:
    """Cleans up when its time is up."""
    try:
        await sleep("1d")
    finally:
        await step("cleaned up")


async def scenario(client: Client) -> list[str]:
    """Each in its way."""
    held = await client.start(waits.with_(id="held"), "paused")
    await until(held.describe, lambda view: any(task.state == "completed" for task in view.tasks))
    await held.pause(freeze_timers=True)
    await held.signal(go, "on")
    await held.resume()
    found = [await held.result("30s")]
    woken = await client.start(dozes.with_(id="woken"), "woken")
    await until(woken.describe, lambda view: bool(view.timers))
    await woken.move_timer()
    found.append(await woken.result("30s"))
    delayed = await client.start(dozes.with_(id="delayed", delay="1h"), "begun")
    await delayed.move_timer()
    await until(delayed.describe, lambda view: bool(view.timers))
    await delayed.move_timer()
    found.append(await delayed.result("30s"))
    try:
        await (await client.start(has_no_time.with_(id="late"))).result("30s")
    except RunTimedOutError:
        found.append("timed out")
    again = await client.get_run(await held.reset(1), waits)
    # The signal came later than the event that is kept, so it is delivered again.
    found.append((await again.result("30s")).rpartition(" ")[2])
    return found
