"""A cart that is made by the first thing that goes into it."""

from aiki_client import Client
from aiki_sdk import UpdateRejected, main, signal, update, workflow

buy = signal("buy", str)
EXPECTED = [1, 2, "refused: nothing is not sold here", ["tea", "milk"]]


@workflow
class ShoppingCart:
    """What a customer wants."""

    def __init__(self) -> None:
        self.customer = ""
        self.items: list[str] = []

    @main
    async def run(self, customer: str) -> list[str]:
        """Until it is bought."""
        self.customer = customer
        await buy.wait()
        return self.items

    @update
    async def put(self, item: str) -> int:
        """One more; returns how many there are."""
        self.items.append(item)
        return len(self.items)

    @put.validator
    def check(self, item: str) -> None:
        """Before anything is recorded."""
        if item == "nothing":
            raise UpdateRejected("nothing is not sold here")


async def scenario(client: Client) -> list[object]:
    """Two things and a refusal."""
    cart = ShoppingCart.run.with_(id="cart").bind("ada")
    counts: list[object] = []
    for item in ("tea", "milk"):
        count = await client.update_with_start(cart, ShoppingCart.put, item)
        counts.append(count)
    run = await client.run("cart")
    try:
        await run.update(ShoppingCart.put, "nothing")
    except UpdateRejected as error:
        counts.append(f"refused: {error}")
    await run.signal(buy, "now")
    return [*counts, await run.result("50s")]
