"""What clients ask, over the wire: starts and their policies, histories, listings, and every refusal."""

import asyncio
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from aiki.v1 import common_pb2, workflow_pb2
from aiki_server.store import Stores
from tests.protocol.peer import Door, Worker, a_coordinator, ended, kinds, reason_of_rpc, scheduled

POLICIES = {
    "equal": workflow_pb2.WORKFLOW_ID_POLICY_UNSPECIFIED,
    "reject": workflow_pb2.WORKFLOW_ID_POLICY_REJECT,
    "existing": workflow_pb2.WORKFLOW_ID_POLICY_RETURN_EXISTING,
    "replace": workflow_pb2.WORKFLOW_ID_POLICY_REPLACE_CLOSED,
}


async def test_a_start_may_be_sent_twice(store: Stores) -> None:
    """The request id says that it is the same."""
    async with a_coordinator(store) as door:
        first = await door.start("order", request_id="r", id_policy=POLICIES["reject"])

        assert await door.start("order", request_id="r", id_policy=POLICIES["reject"]) == first


@pytest.mark.parametrize(
    ("policy", "data", "outcome"),
    [
        ("equal", b"{}", "same"),
        ("equal", b"other", "WORKFLOW_ID_TAKEN"),
        ("reject", b"{}", "WORKFLOW_ID_TAKEN"),
        ("existing", b"other", "same"),
        ("replace", b"{}", "WORKFLOW_ID_TAKEN"),
    ],
)
async def test_an_id_in_use(store: Stores, policy: str, data: bytes, outcome: str) -> None:
    """The policy says what another start with it does."""
    async with a_coordinator(store) as door:
        first = await door.start("order")

        assert await outcome_of(door, data=data, id_policy=POLICIES[policy]) == (
            first if outcome == "same" else outcome
        )


async def outcome_of(door: Door, **options: object) -> str:
    """The run's id, or why there is none."""
    try:
        return await door.start("order", **options)
    except grpc.aio.AioRpcError as error:
        return reason_of_rpc(error)


async def test_a_closed_run_may_be_replaced(store: Stores) -> None:
    """If the policy says so."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        first = await door.start("order")
        await worker.commit((await worker.granted()).lease, 1, ended())

        assert await door.start("order", id_policy=POLICIES["replace"]) != first


async def refused(door: Door, **options: object) -> str:
    """Why a start is refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await door.start(**options)  # type: ignore[arg-type]  # each test passes what it is about
    return reason_of_rpc(caught.value)


async def test_starts_that_are_refused(store: Stores) -> None:
    """Each with its reason, and nothing is there afterwards."""
    async with a_coordinator(store) as door:
        assert await refused(door, require_worker=True) == "WORKFLOW_UNKNOWN"
        async with Worker(door, workflows=[{"name": "flow", "version": "2"}]):
            assert await refused(door, require_worker=True) == "VERSION_UNKNOWN"
        async with Worker(door):
            assert await refused(door, require_worker=True, queue="nowhere") == "NO_WORKER"
        assert await refused(door, data=b"x" * (2 * 1024 * 1024 + 1)) == "PAYLOAD_TOO_LARGE"
        assert await refused(door, request_id="") == "INVALID_ARGUMENT"
        assert await refused(door, workflow_id="x" * 201) == "INVALID_ARGUMENT"
        store.health.is_nearly_full = True
        assert await refused(door) == "STORE_FULL"
        store.health.unsafe = ["It has no append-only file."]
        assert await refused(door) == "STORE_UNSAFE"

        listed = await door.client.ListRuns(workflow_pb2.ListRunsRequest())

    assert list(listed.runs) == []


async def test_runs_that_are_not_there(store: Stores) -> None:
    """And those that are, but of another namespace, or closed, or not stalled, or pages that are none."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        reference = workflow_pb2.RunReference(run_id=run_id)
        client = door.client
        requests: dict[str, Any] = {
            "RUN_NOT_FOUND": client.GetRun(
                workflow_pb2.GetRunRequest(run=workflow_pb2.RunReference(workflow_id="nothing"))
            ),
            "RUN_NOT_FOUND ": client.GetRun(workflow_pb2.GetRunRequest(run=reference, namespace="other")),
            "NOT_STALLED": client.ResumeRun(workflow_pb2.ResumeRunRequest(run=reference)),
            "INVALID_ARGUMENT": client.ListRuns(workflow_pb2.ListRunsRequest(page_token="nonsense")),
        }
        for reason, request in requests.items():
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await request
            assert reason_of_rpc(caught.value) == reason.strip()
        await worker.commit((await worker.granted()).lease, 1, ended())
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await door.signal(run_id, "late")

    assert reason_of_rpc(caught.value) == "RUN_CLOSED"


async def test_a_history_is_followed_to_its_end(store: Stores) -> None:
    """Event by event, as they are committed."""
    async with a_coordinator(store) as door, Worker(door) as worker:
        await worker.credit(runs=1)
        run_id = await door.start()
        lease = (await worker.granted()).lease
        reference = workflow_pb2.RunReference(run_id=run_id)
        pages = door.client.GetHistory(workflow_pb2.GetHistoryRequest(run=reference, follow=True))
        seen = kinds((await anext(aiter(pages))).events)
        await worker.commit(lease, 1, scheduled("a"))
        seen += kinds((await anext(aiter(pages))).events)
        await worker.commit(lease, 2, ended())
        async for page in pages:
            seen += kinds(page.events)

    assert seen == ["run_started", "task_scheduled", "run_completed"]


async def test_runs_are_listed_in_pages(store: Stores) -> None:
    """Newest first, each once."""
    async with a_coordinator(store) as door:
        started = [await door.start() for _ in range(5)]
        token, found = "", list[str]()
        while True:
            page = await door.client.ListRuns(workflow_pb2.ListRunsRequest(page_size=2, page_token=token))
            found += [run.run_id for run in page.runs]
            token = page.next_page_token
            if not token:
                break

    assert sorted(found) == sorted(started)


async def test_a_wait_ends_with_its_time(store: Stores) -> None:
    """And says how the run stands, and what it waits for."""
    async with a_coordinator(store) as door:
        run_id = await door.start()
        request = workflow_pb2.WaitRunRequest(run=workflow_pb2.RunReference(run_id=run_id))
        request.timeout.FromMilliseconds(50)

        run = (await asyncio.wait_for(door.client.WaitRun(request), 5)).run

    assert run.state == common_pb2.RUN_STATE_RUNNING
    assert run.waiting_for == "no worker serves flow v1 in queue 'default'"


async def test_health_and_reflection(store: Stores) -> None:
    """For load balancers, and for people with grpcurl."""
    async with a_coordinator(store) as door:
        health: Any = health_pb2_grpc.HealthStub(door.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="aiki.v1.WorkerService"))
        reflection: Any = cast("Any", reflection_pb2_grpc.ServerReflectionStub)(door.channel)
        call = reflection.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        listed = (await call.read()).list_services_response.service
        call.cancel()

    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert {"aiki.v1.WorkerService", "aiki.v1.WorkflowService"} <= {service.name for service in listed}
