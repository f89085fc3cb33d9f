"""Is this coordinator alive, and is it ready? Alive never depends on the store: restarting heals no store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from aiohttp import web


def probe_routes(problems: Callable[[], Sequence[str]]) -> list[web.RouteDef]:
    """`/livez` always answers 200; `/readyz` 200, or 503 with a line for each reason that *problems* gives."""

    async def live(_: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_: web.Request) -> web.Response:
        reasons = problems()
        text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
        return web.Response(status=503 if reasons else 200, text=text)

    return [web.get("/livez", live), web.get("/readyz", ready)]
