"""Probes and metrics over HTTP, served from the session thread, so that user code that blocks cannot look like death."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiki_worker.instruments import Registry

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


def metrics_routes(registry: Registry) -> list[web.RouteDef]:
    """`/metrics` answers with every metric, for Prometheus; with exemplars for those that accept OpenMetrics."""
    from aiohttp import web

    from aiki_worker.exposition import PrometheusText

    text = PrometheusText(registry)

    async def scrape(request: web.Request) -> web.Response:
        body, content_type = text.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return [web.get("/metrics", scrape)]


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
