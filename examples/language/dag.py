"""A graph with a branch that is skipped and a node that takes any of two."""

from aiki_client import Client
from aiki_sdk import Graph, task, workflow

EXPECTED = ["small", "skipped", "sent small"]


@task
async def measure(parcel: str) -> int:
    """Its weight."""
    return len(parcel)


@task
async def by_bike(parcel: str) -> str:
    """For what is light."""
    return parcel


@task
async def by_truck(parcel: str) -> str:
    """For what is not."""
    return parcel


@task
async def notify_sender(parcel: str) -> str:
    """However it goes."""
    return f"sent {parcel}"


shipping = Graph("shipping")
_parcel = shipping.input("parcel", str)
_weight = shipping.add(measure, _parcel)
_bike = shipping.add(by_bike, _parcel, after=[_weight], when=lambda results: results[_weight] <= 5)
_truck = shipping.add(by_truck, _parcel, after=[_weight], when=lambda results: results[_weight] > 5)
_told = shipping.add(notify_sender, _parcel, after=[_bike, _truck], join="any")


@workflow
async def ships(parcel: str) -> list[str]:
    """As the graph says."""
    results = await shipping.run(parcel=parcel)
    return [results.get(_bike, "skipped"), results.get(_truck, "skipped"), results[_told]]


async def scenario(client: Client) -> list[str]:
    """A small one goes by bike."""
    return await (await client.start(ships, "small")).result("50s")
