"""Plays an example while the worker that has its runs is killed at one moment, and another takes over."""

import importlib
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from aiki_client import Client
from aiki_client.history_file import saved_run
from aiki_worker.handlers import load
from aiki_workflow import events
from aiki_workflow.engine import RunEngine, RunInfo
from tests.support.nursery import Nursery
from tests.support.tollgate import Side, Tollgate

STANDBY = 2
"""Workers that stand by to take over."""
CASES = ("around", "held", "stopped", "told")


@dataclass(frozen=True, slots=True)
class Stage:
    """Where examples are played: a coordinator, and where workers come from."""

    coordinator: str
    nursery: Nursery


@dataclass(frozen=True, slots=True)
class Played:
    """What came of it; `moments` are those of the first worker, until it was killed."""

    outcome: object
    moments: int
    killed: bool


def module_of(name: str) -> str:
    """Where it is: an example, or one of the cases beside this module."""
    return f"tests.examples.cases.{name}" if name in CASES else f"examples.language.{name}"


async def play(stage: Stage, name: str, *, moment: int = 0, side: Side = "recorded") -> Played:
    """The example's scenario in a namespace of its own; its worker is killed at *moment*, 0: never."""
    module: Any = importlib.import_module(module_of(name))
    namespace = f"{name}-{side}-{moment}-{uuid4().hex[:6]}".replace("_", "-")
    workers: list[int] = []

    def start(address: str) -> None:
        arguments = ("--address", address, "--namespace", namespace, "--slots", "50")
        workers.append(stage.nursery.start(module.__name__, *arguments))

    def replace() -> None:
        stage.nursery.kill(workers[0])
        for _ in range(STANDBY):
            start(stage.coordinator)

    try:
        async with (
            Tollgate(stage.coordinator, moment, side, replace) as gate,
            Client.connect(stage.coordinator, namespace=namespace) as client,
        ):
            start(gate.address)
            try:
                outcome = await module.scenario(client)
            except Exception as error:
                error.add_note(f"{name}: its worker was killed at moment {moment}, {side}")
                raise
            await _check_histories(client, module.__name__)
            return Played(outcome, gate.passed, gate.closed.is_set())
    finally:
        for worker in workers:
            stage.nursery.kill(worker)


async def _check_histories(client: Client, module: str) -> None:
    """What two workers wrote is what one would have: a third agrees with every event."""
    workflows = load([module]).workflows
    async for view in client.list():
        workflow = workflows.get((view.workflow, view.version))
        if workflow is None:
            continue
        run = await saved_run(await client.get_run(view.run_id))
        addresses = [event.address for event in run.history if isinstance(event, events.TaskCompleted)]
        assert len(addresses) == len(set(addresses)), f"{run.run_id} has a result twice"
        info = RunInfo(
            namespace=run.namespace,
            run_id=run.run_id,
            workflow_id=run.workflow_id,
            workflow=run.workflow,
            version=run.version,
            queue=run.queue,
        )
        engine = RunEngine(workflow, info)
        try:
            assert engine.replay(run.history) == [], f"{run.run_id} goes on after its end"
        finally:
            engine.close()
