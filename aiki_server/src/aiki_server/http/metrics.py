"""`/metrics`, for Prometheus; with exemplars for those that accept OpenMetrics."""

from __future__ import annotations

from aiohttp import web

from aiki_server.telemetry.exposition import PrometheusText
from aiki_server.telemetry.instruments import Registry


def metrics_routes(registry: Registry) -> list[web.RouteDef]:
    """Answers with every metric of *registry*."""
    text = PrometheusText(registry)

    async def scrape(request: web.Request) -> web.Response:
        body, content_type = text.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    return [web.get("/metrics", scrape)]
