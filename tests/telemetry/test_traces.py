"""One trace tells the story of a run, whichever processes took part and whichever died."""

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from aiki_client import Client
from aiki_worker.trace_ids import attempt_span, run_span
from examples.local_cluster import LocalCluster
from tests.support.waiting import eventually
from tests.telemetry import traced_workflows as flows
from tests.telemetry.receiver import Received, Receiver, environment, receiving

MODULE = "tests.telemetry.traced_workflows"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A collector."""
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def provider(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[TracerProvider]:
    """OpenTelemetry, as a program that starts runs has set it up; for this test alone."""
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(receiver.endpoint)))
    monkeypatch.setattr("opentelemetry.trace._TRACER_PROVIDER", provider)
    yield provider
    provider.shutdown()


@pytest.fixture
def cluster(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCluster]:
    """A coordinator that sends its spans to the collector."""
    monkeypatch.setattr(
        os, "environ", {**os.environ, **environment(receiver), "TRACED_FOLDER": str(tmp_path)}
    )
    monkeypatch.setattr(flows, "FOLDER", tmp_path)
    with LocalCluster(tmp_path / "cluster", lease_ttl="1s") as cluster:
        cluster.start_coordinator()
        yield cluster


def _kill_packer(cluster: LocalCluster, folder: Path) -> str:
    pid = int((folder / "o1.packing").read_text())
    name = next(name for name in ("first", "second") if cluster.pid(name) == pid)
    cluster.kill(name)
    return name


async def test_a_run_is_one_trace(
    cluster: LocalCluster, receiver: Receiver, provider: TracerProvider, tmp_path: Path
) -> None:
    """With a retry, a child, a signal, a queue and a worker that is killed: each attempt once, under its run."""
    for name in ("first", "second"):
        cluster.start_worker(name, MODULE)
    tracer = provider.get_tracer("shop")

    async with Client.connect(cluster.address) as client:
        await _warm_up(client, receiver, tmp_path)
        with tracer.start_as_current_span("order page"):
            run = await client.start(flows.purchase.with_(id="order-1"), "o1")
        with tracer.start_as_current_span("back office"):
            await run.signal(flows.approved, "ada")

        async def packs() -> bool:
            return (tmp_path / "o1.packing").exists() and bool((tmp_path / "o1.packing").read_text())

        async def are_sent() -> bool:
            return (
                len(_attempts(receiver, "task charge")) == 2 and len(_attempts(receiver, "task label")) == 1
            )

        await eventually(packs, "the child packs")
        # What a killed worker has not sent yet is lost with it, as with any exporter that batches.
        await eventually(are_sent, "what is recorded is sent")
        await asyncio.to_thread(_kill_packer, cluster, tmp_path)
        result = await run.result(timeout="45s")
        child = await client.run("ship-o1")
    assert result == "receipt of o1, parcel of o1, label of o1, by ada"

    async def came() -> bool:
        return {run_span(run.run_id), run_span(child.run_id)} <= {span.span_id for span in receiver.spans}

    await eventually(came, "the spans of the runs have come")
    if picture := os.environ.get("AIKI_SAVE_TRACE"):
        receiver.save(Path(picture))
    by_name = {span.name: span for span in receiver.spans}
    page, purchase, ship = by_name["order page"], by_name["run purchase"], by_name["run ship"]

    assert Counter(span.span_id for span in receiver.spans).most_common(1)[0][1] == 1, (
        "each span is made once"
    )
    others = {"back office", "signal approved"}
    assert {span.trace_id for span in receiver.spans if span.name not in others} == {page.trace_id}
    assert _path(receiver, purchase) == ["start purchase", "start purchase", "order page"]
    assert _path(receiver, ship) == ["start ship", "run purchase", *_path(receiver, purchase)]
    charges = _attempts(receiver, "task charge")
    assert [(span.attributes["aiki.task.attempt"], span.failed) for span in charges] == [
        (1, True),
        (2, False),
    ]
    assert {span.parent_id for span in charges} == {purchase.span_id}
    assert charges[0].events == ["exception"]
    assert charges[1].attributes["shop.paid"] == "yes"
    assert {by_name["ask the bank"].parent_id} <= {span.span_id for span in charges}
    pack = _attempts(receiver, "task pack")
    assert len(pack) == 1, "the attempt that died with its worker is not there twice"
    assert pack[0].parent_id == ship.span_id
    assert pack[0].span_id == attempt_span(child.run_id, pack[0].attributes["aiki.task.address"], 1)
    label = _attempts(receiver, "task label")
    assert [span.parent_id for span in label] == [purchase.span_id]
    assert by_name["print"].parent_id == label[0].span_id
    assert by_name["signal approved"].span_id in purchase.links
    assert by_name["signal approved"].trace_id == by_name["back office"].trace_id
    assert "signal received" in purchase.events
    assert purchase.attributes["aiki.run.state"] == "completed"


async def test_spans_of_a_child_process_nest(cluster: LocalCluster, receiver: Receiver) -> None:
    """As those on the worker's own loop and in its threads do."""
    cluster.start_worker("worker", MODULE)
    async with Client.connect(cluster.address) as client:
        run = await client.start(flows.weighing, "o1")
        assert await run.result(timeout="40s") == 2
    # Children send what is left when they are told to leave.
    await asyncio.to_thread(cluster.stop, "worker")

    by_name = {span.name: span for span in receiver.spans}
    assert _path(receiver, by_name["put on the scales"]) == ["task weigh", "run weighing", "start weighing"]
    assert {span.trace_id for span in receiver.spans} == {by_name["run weighing"].trace_id}


async def _warm_up(client: Client, receiver: Receiver, folder: Path) -> None:
    """Have a run made and its spans told, so that all is there before what is looked at."""
    (folder / "o0.packing").touch()
    await (await client.start(flows.ship, "o0")).result(timeout="30s")

    async def came() -> bool:
        names = {span.name for span in receiver.spans if span.service != "shop"}
        return names == {"start ship", "run ship", "task pack"}

    await eventually(came, "the first spans have come")
    receiver.forget()


def _attempts(receiver: Receiver, name: str) -> list[Received]:
    found = [span for span in receiver.spans if span.name == name]
    return sorted(found, key=lambda span: span.start_ns)


def _path(receiver: Receiver, span: Received) -> list[str]:
    """The names of what is above a span, from the nearest on."""
    by_id = {span.span_id: span for span in receiver.spans}
    names: list[str] = []
    while span.parent_id:
        span = by_id[span.parent_id]
        names.append(span.name)
    return names
