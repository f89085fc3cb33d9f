"""Probes over HTTP, served from the session thread, so that user code that blocks cannot look like death."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from aiohttp import web

CLOSE_SECONDS: Final = 1.0


@asynccontextmanager
async def serving_http(address: str, routes: Sequence[web.RouteDef]) -> AsyncGenerator[str]:
    """Serve *routes* at *address* (`HOST:PORT`, port 0 takes a free one); where it is.

    Raises:
        OSError: nobody can listen there.
    """
    from aiohttp import web

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


def probe_routes(problems: Callable[[], Sequence[str]]) -> list[web.RouteDef]:
    """`/livez` answers 200 while the process lives (one that is stuck ends itself); `/readyz` 503 for *problems*."""
    from aiohttp import web

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_: web.Request) -> web.Response:
        reasons = problems()
        text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
        return web.Response(status=503 if reasons else 200, text=text)

    return [web.get("/livez", live), web.get("/readyz", ready)]
