"""Flight, car, hotel: when the hotel is full, the others are given back."""

from aiki_client import Client, RunFailedError
from aiki_sdk import Failure, Retry, Saga, task, workflow

EXPECTED = ["reserve", "reserve", "reserve", "give_back", "give_back"]


class NoRooms(Failure):
    """The hotel is full."""


@task(retry=Retry.none())
async def reserve(what: str) -> str:
    """Book it, or fail."""
    if what == "hotel":
        raise NoRooms(what)
    return f"{what}-1"


@task
async def give_back(booking: str) -> str:
    """Undo a booking."""
    return booking


@workflow
async def saga_booking() -> str:
    """All or nothing."""
    async with Saga() as saga:
        for what in ("flight", "car", "hotel"):
            await saga.do(reserve(what), undo=give_back)
    return "booked"


async def scenario(client: Client) -> list[str]:
    """The tasks it ran, in order."""
    run = await client.start(saga_booking)
    try:
        await run.result("50s")
    except RunFailedError:
        return [found.task for found in (await run.describe()).tasks]
    return []
