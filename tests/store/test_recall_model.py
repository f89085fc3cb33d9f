"""The model of recalls walked at random, each step done by the store as well: both agree after every step."""

import random
import re

import pytest

from aiki_server.core.runs import (
    Begun,
    Committed,
    Completed,
    DispatchedTask,
    Effects,
    LeaseToken,
    Released,
    Taken,
    TaskState,
)
from aiki_server.store import Stores
from tests.model.recall import RecallModel, RecallState
from tests.support.store import INCARNATION, NAMESPACE, a_grant, a_run

ADDRESS = "charge/1/1"
WALKS = 40
STEPS_MAX = 40


class Product:
    """The store doing what the model's steps say. Lease number n has nonce `n` and, as it should be, epoch n."""

    def __init__(self, store: Stores, run_id: str, *, once: bool) -> None:
        self._store = store
        self._run_id = run_id
        self._once = once

    async def follow(self, label: str, before: RecallState, after: RecallState) -> None:
        """Do the step."""
        worker, lease = before.held_by, before.lease
        if found := re.fullmatch(r"worker (\d) gets the task", label):
            taken = await self._store.tasks.take(
                run_id=self._run_id, address=ADDRESS, incarnation=_who(int(found[1])), nonce=str(after.lease)
            )
            assert isinstance(taken, Taken)
        elif found := re.fullmatch(r"worker (\d) says that it starts", label):
            number = int(found[1])
            work, then = before.workers[number], after.workers[number]
            assert work is not None
            assert then is not None
            stands = await self._store.tasks.start(token=self._token(work.lease), once=self._once)
            assert stands == then.may_start
        elif found := re.fullmatch(r"worker (\d) reports", label):
            number = int(found[1])
            work = before.workers[number]
            assert work is not None
            done = await self._store.tasks.complete(
                token=self._token(work.lease), incarnation=_who(number), event=b"done"
            )
            assert isinstance(done, Completed) == (bool(after.outcome) or before.outcome != "")
        elif label == "the lease goes back":
            [(number, given_back)] = set(before.answers) - set(after.answers)
            released = await self._store.tasks.release(
                token=self._token(given_back), incarnation=_who(number)
            )
            assert isinstance(released, Released) == (before.held_by is not None and after.held_by is None)
        elif "dies and its lease expires" in label or "is taken for dead" in label:
            assert worker is not None
            await self._expire(worker, lease)

    async def _expire(self, worker: int, lease: int) -> None:
        answer = await self._store.tasks.release(token=self._token(lease), incarnation=_who(worker))
        if isinstance(answer, Begun):
            await self._store.tasks.complete(
                token=self._token(lease), incarnation=_who(worker), event=b"unknown"
            )

    async def agrees_with(self, state: RecallState) -> bool:
        """Whether the task stands in the store as it does in the model."""
        record = await self._store.tasks.get(run_id=self._run_id, address=ADDRESS)
        assert record is not None
        if state.outcome:
            return record.state is TaskState.DONE
        if state.held_by is None:
            return record.state is TaskState.READY
        return (record.state, record.epoch, record.holder) == (
            TaskState.LEASED,
            state.lease,
            _who(state.held_by),
        )

    def _token(self, lease: int) -> LeaseToken:
        return LeaseToken(self._run_id, ADDRESS, lease, str(lease))


def _who(number: int) -> str:
    return f"coordinator.worker{number}.1"


async def a_task(store: Stores) -> str:
    """A run with a remote task that is ready."""
    token = await a_grant(store, await a_run(store))
    task = DispatchedTask(address=ADDRESS, handler="t:charge", queue="default", spec=b"spec")
    done = await store.runs.commit(
        token=token,
        incarnation=INCARNATION,
        number=1,
        events=[b"commands"],
        effects=Effects(dispatches=[task]),
        namespace=NAMESPACE,
    )
    assert isinstance(done, Committed)
    return token.run_id


@pytest.mark.parametrize("at_most_once", [False, True])
async def test_the_store_does_as_the_model_of_recalls(store: Stores, at_most_once: bool) -> None:
    """Leases, releases, starts, reports and deaths, in whatever order the model has them."""
    model = RecallModel(crashes=1, expiries=1, at_most_once=at_most_once)
    for seed in range(WALKS):
        dice = random.Random(seed)
        product = Product(store, await a_task(store), once=at_most_once)
        state = model.initial()
        path: list[str] = []
        for _ in range(STEPS_MAX):
            steps = [] if state.outcome else list(model.successors(state))
            if not steps:
                break
            step = dice.choice(steps)
            path.append(step.label)
            await product.follow(step.label, state, step.state)
            state = step.state
            assert not model.broken(state), path
            assert await product.agrees_with(state), path
