"""Questions about runs, over the wire: who is asked, and what happens while nobody can answer."""

import asyncio

import grpc
import pytest

from aiki.v1 import common_pb2, worker_pb2, workflow_pb2
from aiki_server.rpc import questions
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_coordinator, ended, reason_of_rpc


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
