"""The scripts against a small model: random interleavings of every call, each sent one to three times.

The model says what the answer and the store must be. Stale calls are made on purpose: with leases that are
over, with commits that were made before, by incarnations that hold nothing.
"""

import asyncio
import random
from dataclasses import dataclass, field, replace

import pytest

from aiki_server.core.runs import (
    Committed,
    Completed,
    Delivered,
    DispatchedTask,
    DueTimer,
    Effects,
    Fenced,
    Gap,
    Granted,
    LeaseToken,
    NotReady,
    Released,
    RunClosed,
    RunState,
    Started,
    Taken,
    TaskAttention,
    TimerKind,
)
from aiki_server.store import Stores, keys
from aiki_server.store.replies import as_it_is
from tests.support.store import NAMESPACE, a_start

INCARNATIONS = ["a.s.1", "b.s.1"]
STEPS = 120


@dataclass
class Task:
    """A remote task as it must be."""

    state: str = "ready"
    epoch: int = 0
    nonce: str = ""
    holder: str = ""
    ended: tuple[int, str] = (0, "")


@dataclass
class Model:
    """One run as it must be."""

    history: list[bytes] = field(default_factory=list)
    mailbox: list[bytes] = field(default_factory=lambda: [b"started"])
    seen: set[str] = field(default_factory=set)
    ready: bool = True
    closed: bool = False
    stalled: bool = False
    epoch: int = 0
    nonce: str = ""
    holder: str = ""
    number: int = 0
    answer: tuple[int, tuple[bytes, ...], bool, bool] = (0, (), False, False)
    granted: int = 0
    timers: dict[str, int] = field(default_factory=dict)
    tasks: dict[str, Task] = field(default_factory=dict)

    def mail(self, event: bytes) -> None:
        self.mailbox.append(event)
        if not self.stalled:
            self.ready = True

    def current(self, run_id: str) -> Fenced:
        return Fenced(self.token(run_id), self.holder) if self.holder else Fenced(None, "")

    def token(self, run_id: str) -> LeaseToken:
        return LeaseToken(run_id, "", self.epoch, self.nonce)


class Machine:
    """Makes random calls, and compares each answer and the store with the model."""

    def __init__(self, store: Stores, seed: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self.model = Model()
        self.run_id = ""
        self.count = 0
        self.leases: list[tuple[LeaseToken, str]] = []
        self.task_leases: list[tuple[LeaseToken, str]] = []
        self.nonces: list[str] = []

    async def run(self) -> None:
        start = a_start()
        self.run_id = start.run_id
        for number in range(self.copies()):
            assert await self.store.runs.start(start) == Started(start.run_id, repeat=number > 0)
        calls = [self.deliver, self.grant, self.commit, self.commit, self.commit, self.release]
        calls += [self.take, self.complete, self.fire, self.adopt, self.unstall, self.release_task]
        for _ in range(STEPS):
            await self.random.choice(calls)()
            await self.compare()

    def copies(self) -> int:
        return self.random.choice([1, 1, 1, 2, 3])

    def fresh(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    async def compare(self) -> None:
        model, store = self.model, self.store
        record = await store.runs.get(namespace=NAMESPACE, run_id=self.run_id)
        assert record is not None
        assert (record.epoch, record.nonce, record.holder) == (model.epoch, model.nonce, model.holder)
        assert await store.runs.history(run_id=self.run_id, first=0, count=10_000) == model.history
        assert record.mail == len(model.mailbox)
        where = int(self.run_id.partition("-")[0])
        score = ("ZSCORE", f"{keys.tag(where)}ready", keys.ready_run(self.run_id))
        assert (await store.flusher.submit(score, as_it_is) is not None) == model.ready
        entries = await store.sweep.ready(partition=where, before_ms=2**50, count=1000)
        ready = [entry.attention for entry in entries if entry.attention.run_id == self.run_id]
        waiting = {about.address for about in ready if isinstance(about, TaskAttention)}
        assert waiting == {address for address, task in model.tasks.items() if task.state == "ready"}
        held = {
            (token.address, incarnation)
            for incarnation in INCARNATIONS
            for token in await store.sweep.held(partition=where, incarnation=incarnation, count=1000)
            if token.run_id == self.run_id
        }
        owned = {(address, task.holder) for address, task in model.tasks.items() if task.state == "leased"}
        assert owned | ({("", model.holder)} if model.holder else set()) <= held

    async def deliver(self) -> None:
        dedupe_id = self.random.choice([*self.model.seen, self.fresh("d")])
        event = f"signal {dedupe_id}".encode()
        for _ in range(self.copies()):
            outcome = await self.store.runs.deliver(
                namespace=NAMESPACE, run_id=self.run_id, event=event, dedupe_id=dedupe_id
            )
            if dedupe_id in self.model.seen:
                assert outcome == Delivered(self.run_id, repeat=True, attention=None)
            elif self.model.closed:
                assert isinstance(outcome, RunClosed)
            else:
                assert isinstance(outcome, Delivered)
                self.model.seen.add(dedupe_id)
                self.model.mail(event)

    async def grant(self) -> None:
        model = self.model
        nonce = self.random.choice([*self.nonces, self.fresh("n"), self.fresh("n")])
        incarnation = self.random.choice(INCARNATIONS)
        for _ in range(self.copies()):
            outcome = await self.store.runs.grant(run_id=self.run_id, incarnation=incarnation, nonce=nonce)
            repeat = nonce == model.nonce and incarnation == model.holder
            free = not model.holder and model.ready and nonce != model.nonce
            if model.closed or model.stalled or not (repeat or free):
                assert isinstance(outcome, NotReady)
                continue
            if not repeat:
                model.epoch, model.nonce, model.holder, model.number = model.epoch + 1, nonce, incarnation, 0
                model.history += model.mailbox[:100]
                del model.mailbox[:100]
                model.ready = bool(model.mailbox)
                model.granted = len(model.history)
                self.nonces.append(nonce)
                self.leases.append((replace(model.token(self.run_id), nonce="forged"), incarnation))
                self.leases.append((model.token(self.run_id), incarnation))
            assert isinstance(outcome, Granted)
            assert outcome.token == model.token(self.run_id)
            assert outcome.events == model.history[: model.granted]

    async def commit(self) -> None:
        if not self.leases:
            return
        model = self.model
        token, incarnation = self.random.choice([*self.leases[-1:] * 4, *self.leases])
        number = max(1, model.number + self.random.choice([1, 1, 1, 1, 0, -1, 2]))
        events = [self.fresh("e").encode() for _ in range(self.random.randrange(3))]
        effects, stall = self.effects()
        drain = effects.closing is None and stall is None and self.random.random() < 0.5
        idle = drain and self.random.random() < 0.5
        for _ in range(self.copies()):
            outcome = await self.store.runs.commit(
                token=token,
                incarnation=incarnation,
                number=number,
                events=events,
                effects=effects,
                drain=drain,
                idle=idle,
                stall=stall,
                namespace=NAMESPACE,
            )
            if token != model.token(self.run_id) or (number > model.number and incarnation != model.holder):
                assert outcome == model.current(self.run_id) or (
                    not model.holder and isinstance(outcome, Fenced)
                )
            elif number > model.number + 1:
                assert outcome == Gap(model.number)
            else:
                if number == model.number + 1:
                    self.apply(number, events, effects, drain=drain, idle=idle, stall=stall)
                assert isinstance(outcome, Committed)
                if number == model.number:
                    length, drained, released, closed = model.answer
                    assert (outcome.length, tuple(outcome.drained)) == (length, drained)
                    assert (outcome.released, outcome.closed) == (released, closed)

    def effects(self) -> tuple[Effects, bytes | None]:
        """Mostly timers and tasks; now and then an end."""
        dice = self.random.random()
        if dice < 0.02:
            return Effects(closing=self.random.choice([RunState.COMPLETED, RunState.FAILED])), None
        if dice < 0.06:
            return Effects(), b"stall"
        if dice < 0.3:
            return Effects(timers=[(self.fresh("timer"), self.store.clock.now_ms(), TimerKind.TIMER)]), None
        if dice < 0.4 and self.model.timers:
            address = self.random.choice(list(self.model.timers))
            return Effects(cancelled_timers=[(address, TimerKind.TIMER)]), None
        if dice < 0.7:
            task = DispatchedTask(address=self.fresh("task"), handler="t:a", queue="q", spec=b"spec")
            return Effects(dispatches=[task]), None
        if dice < 0.8 and self.model.tasks:
            return Effects(cancelled_tasks=[self.random.choice(list(self.model.tasks))]), None
        return Effects(), None

    def apply(
        self,
        number: int,
        events: list[bytes],
        effects: Effects,
        *,
        drain: bool,
        idle: bool,
        stall: bytes | None,
    ) -> None:
        model = self.model
        model.history += events
        model.timers |= {address: due for address, due, _ in effects.timers}
        for address, _ in effects.cancelled_timers:
            model.timers.pop(address, None)
        model.tasks |= {task.address: Task() for task in effects.dispatches}
        cancelled = list(model.tasks) if effects.closing else effects.cancelled_tasks
        for address in cancelled:
            if model.tasks[address].state != "done":
                model.tasks[address].state = "cancelled"
        drained: list[bytes] = []
        if drain:
            drained, model.mailbox = model.mailbox[:100], model.mailbox[100:]
            model.history += drained
            model.ready = bool(model.mailbox)
        ends = effects.closing is not None or stall is not None
        released = ends or (idle and not drained)
        if ends:
            model.closed, model.stalled, model.ready = effects.closing is not None, stall is not None, False
        if released:
            model.holder = ""
        model.number = number
        model.answer = (len(model.history), tuple(drained), released, model.closed)

    async def release(self) -> None:
        """Also what expiry does."""
        if not self.leases:
            return
        model = self.model
        token, incarnation = self.random.choice([*self.leases[-1:] * 2, *self.leases])
        for _ in range(self.copies()):
            outcome = await self.store.runs.release(token=token, incarnation=incarnation)
            if token == model.token(self.run_id) and incarnation == model.holder:
                assert isinstance(outcome, Released)
                model.holder, model.ready = "", True
            else:
                assert isinstance(outcome, Fenced)

    async def adopt(self) -> None:
        if not self.leases:
            return
        model = self.model
        token, old = self.random.choice([*self.leases[-1:] * 2, *self.leases])
        new = self.random.choice(INCARNATIONS)
        for _ in range(self.copies()):
            moved = await self.store.runs.adopt(token=token, old=old, new=new)
            assert moved == (token == model.token(self.run_id) and model.holder in {old, new})
            if moved:
                model.holder = new
                self.leases.append((token, new))

    async def unstall(self) -> None:
        for _ in range(self.copies()):
            await self.store.runs.unstall(run_id=self.run_id)
            if self.model.stalled:
                self.model.stalled, self.model.ready = False, True

    async def take(self) -> None:
        if not self.model.tasks:
            return
        address = self.random.choice(list(self.model.tasks))
        task = self.model.tasks[address]
        incarnation = self.random.choice(INCARNATIONS)
        nonce = self.random.choice([task.nonce or "x", self.fresh("t"), self.fresh("t")])
        for _ in range(self.copies()):
            outcome = await self.store.tasks.take(
                run_id=self.run_id, address=address, incarnation=incarnation, nonce=nonce
            )
            repeat = task.state == "leased" and (task.nonce, task.holder) == (nonce, incarnation)
            if task.state == "ready" and task.nonce != nonce:
                task.state, task.epoch, task.nonce, task.holder = "leased", task.epoch + 1, nonce, incarnation
                repeat = True
                self.task_leases.append((LeaseToken(self.run_id, address, task.epoch, nonce), incarnation))
            assert isinstance(outcome, Taken if repeat else NotReady)
            if isinstance(outcome, Taken):
                assert (outcome.token.epoch, outcome.spec, outcome.attempt) == (task.epoch, b"spec", 1)

    async def complete(self) -> None:
        if not self.task_leases:
            return
        token, incarnation = self.random.choice(self.task_leases)
        task = self.model.tasks[token.address]
        event = self.fresh("result").encode()
        lease = (token.epoch, token.nonce)
        for _ in range(self.copies()):
            outcome = await self.store.tasks.complete(token=token, incarnation=incarnation, event=event)
            mine = task.state == "leased" and (task.epoch, task.nonce) == lease and task.holder == incarnation
            if mine and not self.model.closed:
                task.state, task.ended = "done", lease
                self.model.mail(event)
            assert isinstance(outcome, Completed if task.ended == lease else Fenced)

    async def release_task(self) -> None:
        if not self.task_leases:
            return
        token, incarnation = self.random.choice(self.task_leases)
        task = self.model.tasks[token.address]
        for _ in range(self.copies()):
            outcome = await self.store.tasks.release(token=token, incarnation=incarnation)
            mine = task.state == "leased" and (task.epoch, task.nonce) == (token.epoch, token.nonce)
            assert isinstance(outcome, Released if mine and task.holder == incarnation else Fenced)
            if isinstance(outcome, Released):
                task.state, task.holder = "ready", ""

    async def fire(self) -> None:
        address = self.random.choice([*self.model.timers, "never"])
        timer = DueTimer(TimerKind.TIMER, self.run_id, address, 0)
        for _ in range(self.copies()):
            fired = await self.store.timers.fire(timer, f"fired {address}".encode())
            due = self.model.timers.pop(address, None)
            assert (fired is not None) == (due is not None and not self.model.closed)
            if fired is not None:
                self.model.mail(f"fired {address}".encode())


@pytest.mark.parametrize("seed", range(25))
async def test_the_scripts_do_what_the_model_does(store: Stores, seed: int) -> None:
    """Three runs at once, so that pipelines mix their calls; each compared after each step."""
    await asyncio.gather(*(Machine(store, seed * 3 + number).run() for number in range(3)))
