"""The probes of a coordinator, over HTTP."""

import aiohttp

from aiki_server.http.endpoint import serving_http
from aiki_server.http.probes import probe_routes


async def test_ready_says_why_not() -> None:
    """200 while nothing is wrong, 503 with a line for each reason; alive whatever is wrong."""
    problems: list[str] = []

    async def ask(path: str) -> tuple[int, str]:
        async with session.get(f"http://{address}{path}") as answer:
            return answer.status, await answer.text()

    async with (
        serving_http("127.0.0.1:0", probe_routes(lambda: problems)) as address,
        aiohttp.ClientSession() as session,
    ):
        assert await ask("/readyz") == (200, "ready\n")

        problems += ["The store is gone.", "It is draining."]

        assert await ask("/readyz") == (503, "The store is gone.\nIt is draining.\n")
        assert await ask("/livez") == (200, "alive\n")
        assert (await ask("/nothing"))[0] == 404
