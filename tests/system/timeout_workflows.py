"""Workflows with little time."""

from aiki_sdk import signal, sleep, task, workflow

never = signal("never", str)


@task
def goodbye() -> str:
    """The last thing a run does."""
    return "goodbye"


@workflow(timeout="1s", after=[goodbye])
async def short() -> str:
    """Waits longer than it may."""
    return await never.wait()


@workflow
async def parent(child_id: str) -> str:
    """Waits for a short one."""
    return await short.with_(id=child_id)()


@workflow(timeout="1s")
async def cleans_up_slowly() -> str:
    """Takes its time when it is told to stop."""
    try:
        return await never.wait()
    finally:
        await sleep("4s")


@workflow(chain_timeout="1s")
async def again_and_again(count: int) -> str:
    """Goes on for ever."""
    await never.wait()
    return again_and_again.continue_as_new(count + 1)


@workflow(timeout="1s")
async def broken() -> None:
    """A bug."""
    raise KeyError("a bug")
