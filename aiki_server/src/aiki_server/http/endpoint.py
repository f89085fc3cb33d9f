"""One HTTP listener; what it serves is given to it as aiohttp routes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web

CLOSE_SECONDS = 1.0


@asynccontextmanager
async def serving_http(address: str, routes: Iterable[web.RouteDef]) -> AsyncGenerator[str]:
    """Serve *routes* at *address* (`HOST:PORT`, port 0 takes a free one); where it is.

    Raises:
        OSError: nobody can listen there.
    """
    host, _, port = address.rpartition(":")
    app = web.Application()
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host.strip("[]"), int(port))
        await site.start()
        yield f"{host}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
