"""Questions about runs, over the wire: who is asked, and what happens while nobody can answer."""

import asyncio
from typing import Any

import grpc
import pytest

from aiki.v1 import common_pb2, worker_pb2, workflow_pb2
from aiki_server.rpc import questions, workflow_service
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_cluster, a_coordinator, ended, reason_of_rpc, scheduled
from tests.support.waiting import eventually


async def ask(door: Door, run_id: str) -> bytes:
    """The answer to a query `total`."""
    run = workflow_pb2.RunReference(run_id=run_id)
    response = await door.client.QueryRun(workflow_pb2.QueryRunRequest(run=run, name="total"))
    return response.output.data


async def answer(worker: Worker, data: bytes) -> worker_pb2.Query:
    """Answer the next query with *data*."""
    query = (await worker.next("query")).query
    output = common_pb2.Payload(data=data, encoding="json")
    await worker.say(query_result=worker_pb2.QueryResult(query_id=query.query_id, output=output))
    return query


async def test_a_question_waits_for_a_worker(store: Stores) -> None:
    """One that connects while the question is open answers it."""
    async with a_coordinator(store) as door:
        run_id = await door.start()
        asking = asyncio.create_task(ask(door, run_id))
        async with Worker(door, workflows=[{"name": "other", "version": "1"}]), Worker(door) as worker:
            assert (await answer(worker, b"7")).query == "total"
            assert await asking == b"7"


async def test_nobody_comes(store: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal names the workflow and its version."""
    monkeypatch.setattr(questions, "SERVED_SECONDS", 0.1)
    async with a_coordinator(store) as door:
        run_id = await door.start()
        with pytest.raises(grpc.aio.AioRpcError, match="serves flow v1") as caught:
            await ask(door, run_id)
    assert reason_of_rpc(caught.value) == "NO_WORKER"


async def test_another_is_asked_when_one_goes(store: Stores) -> None:
    """The question outlives the session that had it."""
    async with a_coordinator(store) as door, Worker(door) as first, Worker(door) as second:
        run_id = await door.start()
        asking = asyncio.create_task(ask(door, run_id))
        await first.next("query")
        first.cut()
        await answer(second, b"8")

        assert await asking == b"8"


async def test_a_closed_run_is_asked_with_its_history(store: Stores) -> None:
    """Whoever has nothing of it gets its events."""
    async with a_coordinator(store) as door:
        async with Worker(door) as worker:
            await worker.credit(runs=1)
            run_id = await door.start()
            await worker.commit((await worker.granted()).lease, 1, ended())
        async with Worker(door) as stranger:
            asking = asyncio.create_task(ask(door, run_id))
            query = await answer(stranger, b"9")
            assert await asking == b"9"

    assert query.length == len(query.events) == 2


async def test_a_worker_of_another_coordinator_answers(store: Stores) -> None:
    """Whichever coordinator is asked; a refusal comes back as well."""
    async with a_cluster(store) as cluster:
        one, two = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(two) as worker:
            run_id = await one.start()
            asking = asyncio.create_task(ask(one, run_id))

            query = await answer(worker, b"9")
            assert await asking == b"9"
            assert (query.run_id, query.query) == (run_id, "total")

            asking = asyncio.create_task(ask(one, run_id))
            failure = common_pb2.Failure(kind=common_pb2.FAILURE_KIND_REJECTED, message="no such query")
            query = (await worker.next("query")).query
            await worker.say(query_result=worker_pb2.QueryResult(query_id=query.query_id, failure=failure))
            with pytest.raises(grpc.aio.AioRpcError, match="no such query"):
                await asking


async def test_a_history_is_followed_across_coordinators(
    store: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed through one is told to who follows at the other, who would look much later by itself."""
    monkeypatch.setattr(workflow_service, "FOLLOW_SECONDS", 60.0)
    async with a_cluster(store) as cluster:
        one, two = await cluster.coordinator(), await cluster.coordinator()
        async with Worker(two) as worker:
            run_id = await one.start()
            await worker.credit(runs=1)
            grant = await worker.granted()
            await tells_of(store, 2)
            run = workflow_pb2.RunReference(run_id=run_id)
            pages: Any = one.client.GetHistory(workflow_pb2.GetHistoryRequest(run=run, follow=True))
            assert len((await pages.read()).events) == 1

            number = 0
            async with asyncio.timeout(20):
                reading = asyncio.ensure_future(pages.read())
                while not reading.done():
                    # It may not have said yet that it follows.
                    number += 1
                    await worker.commit(grant.lease, number, scheduled(f"task-{number}"))
                assert (await reading).events


async def tells_of(store: Stores, count: int) -> None:
    """So many coordinators have told of themselves."""

    async def told() -> bool:
        known = await store.sessions.coordinators()
        pictures = [await store.pictures.told(coordinator_id=name) for name in known]
        return len([picture for picture in pictures if picture is not None]) == count

    await eventually(told, "the coordinators have told of themselves")
