"""A mutex between runs: a run that owns the resource, and lends it to one run after another."""

from aiki_client import Client
from aiki_sdk import remote_run, run_info, signal, task, workflow

lock = signal("lock", str)
granted = signal("granted", str)
release = signal("release", str)
EXPECTED = ["used by user-0", "used by user-1", "used by user-2"]


@workflow
async def mutex(users: int) -> int:
    """First come, first served; *users* of them."""
    for _ in range(users):
        user = await lock.wait()
        await remote_run(user).signal(granted, "it is yours")
        await release.wait()
    return users


@task
async def use_resource(user: str) -> str:
    """Nobody else does."""
    return f"used by {user}"


@workflow
async def resource_user(owner: str) -> str:
    """Ask, wait, use, give back."""
    me = run_info().workflow_id
    await remote_run(owner).signal(lock, me)
    await granted.wait()
    used = await use_resource(me)
    await remote_run(owner).signal(release, me)
    return used


async def scenario(client: Client) -> list[str]:
    """Three users of one resource."""
    owner = await client.start(mutex.with_(id="printer"), 3)
    users = [await client.start(resource_user.with_(id=f"user-{number}"), "printer") for number in range(3)]
    used = [await user.result("50s") for user in users]
    assert await owner.result("50s") == 3
    return used
