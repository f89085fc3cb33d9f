"""A trial of 14 days, which ends early when the customer decides."""

from aiki_client import Client
from aiki_sdk import signal, task, workflow
from examples.language.waiting import until

cancelled = signal("trial_cancelled", str)
EXPECTED = ["charged ada", "goodbye bob: too dear"]


@task
async def charge_customer(customer: str) -> str:
    """Take the first payment."""
    return f"charged {customer}"


@workflow
async def subscription_trial(customer: str) -> str:
    """Wait for two weeks or for a change of mind."""
    reason = await cancelled.wait(timeout="14d", default=None)
    if reason is None:
        return await charge_customer(customer)
    return f"goodbye {customer}: {reason}"


async def scenario(client: Client) -> list[str]:
    """Ada's two weeks are over at once, since an operator moves her timer; Bob decides."""
    ada = await client.start(subscription_trial.with_(id="ada"), "ada")
    bob = await client.start(subscription_trial.with_(id="bob"), "bob")
    await until(ada.describe, lambda view: bool(view.timers))
    await ada.move_timer()
    await bob.signal(cancelled, "too dear")
    return [await ada.result("50s"), await bob.result("50s")]
