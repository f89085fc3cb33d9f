"""The cluster as its coordinators tell of it: each writes a picture of itself, any of them shows all."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from aiki.v1 import admin_pb2
from aiki_server.rpc.holdings import ADOPTED
from aiki_server.store.pictures import Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aiki_server.rpc.hub import Hub
    from aiki_server.rpc.session import Session

TELL_SECONDS: Final = 2.0
TTL_MS: Final = 10_000
THEFTS_MAX: Final = 100
NOTHING: Final = Size(0, 0)
Kind = tuple[str, str, str]
"""Namespace, queue and handler of work."""


class Cluster:
    """`address` is where this coordinator serves, `swept` says how many partitions it sweeps."""

    def __init__(self, hub: Hub, address: str, swept: Callable[[], int]) -> None:
        self._hub = hub
        self._stores = hub.stores
        self._swept = swept
        self._own = admin_pb2.CoordinatorView(
            coordinator_id=hub.coordinator_id,
            address=address,
            host=socket.gethostname(),
            version=version("aiki-server"),
            start_time_ms=hub.stores.clock.now_ms(),
        )

    async def tell(self) -> None:
        """Have the others know how it is here."""
        picture = self.picture().SerializeToString()
        await self._stores.pictures.tell(
            coordinator_id=self._hub.coordinator_id, picture=picture, ttl_ms=TTL_MS
        )

    def picture(self) -> admin_pb2.CoordinatorView:
        """This coordinator as it is now."""
        view = admin_pb2.CoordinatorView()
        view.CopyFrom(self._own)
        view.told_time_ms = self._stores.clock.now_ms()
        view.draining = self._hub.draining.is_set()
        view.partitions = self._swept()
        held: Counter[Kind] = Counter()
        serving: Counter[Kind] = Counter()
        for session in self._hub.sessions.values():
            view.sessions.append(_session(session))
            serving.update(
                (session.namespace, queue, handler)
                for queue in session.queues
                for handler in session.handlers
            )
            for lane, count in session.holdings.by_lane().items():
                if lane != ADOPTED:
                    held[session.namespace, lane.queue, lane.handler] += count
        view.thefts.extend(
            admin_pb2.Theft(victim=victim, thief=thief, count=count)
            for (victim, thief), count in self._hub.stealing.pairs.most_common(THEFTS_MAX)
        )
        view.held.extend(
            admin_pb2.HeldWork(
                namespace=kind[0], queue=kind[1], handler=kind[2], count=held[kind], sessions=serving[kind]
            )
            for kind in sorted({*held, *serving})
        )
        return view

    async def show(self, namespace: str) -> admin_pb2.ShowClusterResponse:
        """All coordinators, and what waits; of one namespace, or of all when it is empty.

        Raises:
            StoreError: the store cannot be read now.
        """
        now_ms = self._stores.clock.now_ms()
        views, ready, timers = await asyncio.gather(
            self._views(now_ms), self._stores.pictures.ready(), self._stores.pictures.timers()
        )
        response = admin_pb2.ShowClusterResponse(
            coordinator_id=self._hub.coordinator_id,
            cluster_id=self._stores.cluster_id,
            store_time_ms=now_ms,
            partitions=self._stores.partitions,
            coordinators=views,
            queues=await self._queues(namespace, views, now_ms),
            backlog=ready.count,
            backlog_oldest_ms=_age(ready, now_ms),
            timers=timers,
        )
        if namespace:
            for view in response.coordinators:
                kept = [session for session in view.sessions if session.namespace == namespace]
                del view.sessions[:], view.held[:]
                view.sessions.extend(kept)
        return response

    async def _views(self, now_ms: int) -> list[admin_pb2.CoordinatorView]:
        known = await self._stores.sessions.coordinators()
        alive = [name for name, until_ms in known.items() if until_ms > now_ms]
        views = await asyncio.gather(*map(self._view, alive))
        return sorted(views, key=lambda view: (view.start_time_ms, view.coordinator_id))

    async def _view(self, coordinator_id: str) -> admin_pb2.CoordinatorView:
        if coordinator_id == self._hub.coordinator_id:
            return self.picture()
        told = await self._stores.pictures.told(coordinator_id=coordinator_id)
        if told is None:
            return admin_pb2.CoordinatorView(coordinator_id=coordinator_id)
        return admin_pb2.CoordinatorView.FromString(told)

    async def _queues(
        self, namespace: str, views: Iterable[admin_pb2.CoordinatorView], now_ms: int
    ) -> list[admin_pb2.QueueView]:
        held: Counter[Kind] = Counter()
        serving: Counter[Kind] = Counter()
        for work in (work for view in views for work in view.held):
            kind = work.namespace, work.queue, work.handler
            held[kind] += work.count
            serving[kind] += work.sessions
        served = await self._stores.pictures.served()
        kinds = {(work.namespace, work.queue, work.handler) for work in served} | held.keys() | serving.keys()
        sizes: dict[Kind, Size] = {}
        for lane, (count, oldest_ms) in (await self._hub.queues.waiting()).items():
            kind = lane.namespace, lane.queue, lane.handler
            sizes[kind] = sizes.get(kind, NOTHING) + Size(count, oldest_ms)
        return [
            admin_pb2.QueueView(
                namespace=kind[0],
                queue=kind[1],
                handler=kind[2],
                backlog=sizes.get(kind, NOTHING).count,
                oldest_ms=_age(sizes.get(kind, NOTHING), now_ms),
                held=held[kind],
                sessions=serving[kind],
            )
            for kind in sorted({*kinds, *sizes})
            if not namespace or kind[0] == namespace
        ]


def _session(session: Session) -> admin_pb2.SessionView:
    hello = session.hello
    return admin_pb2.SessionView(
        incarnation=session.incarnation,
        identity=hello.identity,
        namespace=session.namespace,
        build_id=hello.build_id,
        queues=session.queues,
        slots=hello.slots,
        runs_free=max(session.free_runs, 0),
        tasks_free=max(session.free_tasks, 0),
        runs_held=session.holdings.runs,
        tasks_held=session.holdings.tasks,
        workflows=len(hello.workflows),
        tasks=len(hello.tasks),
        connect_time_ms=session.connect_time_ms,
        draining=session.draining,
        stolen_from=session.load.thefts.stolen_from,
        stolen_to=session.load.thefts.stolen_to,
        recalled=session.load.thefts.recalled,
        refused=session.load.thefts.refused,
    )


def _age(size: Size, now_ms: int) -> int:
    return max(now_ms - size.oldest_ms, 0) if size.oldest_ms else 0
