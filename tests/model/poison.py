"""Model of poison: one task kills its worker whenever it begins, others share the worker and are innocent.

Tasks go by letters; `p` is the poison. A worker takes what it may hold at once, begins some of it, and dies
of `p`. Losing a lease makes a task a suspect: first it gets a lease of its own, then a worker of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, combinations

from aiki_server.core.poison import DEATHS_MAX, SHARED_LOSSES_MAX
from tests.model.checker import Step

LOSSES_MAX = DEATHS_MAX
"""The task whose lease is lost this often fails as PoisonTask."""
POISON = "p"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonRules:
    """What closes H9: only losses while started and alone count, and only deaths that were none by mistake."""

    suspects_run_alone: bool = True
    mistakes_do_not_count: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A task: how often its lease was lost, and how many of those losses count."""

    name: str
    lost: int = 0
    counted: int = 0
    ended: str = ""

    def may_share(self, *, alone_after: int) -> bool:
        """Whether others may be on its worker."""
        return self.lost < alone_after


@dataclass(frozen=True, slots=True)
class PoisonState:
    """What the one worker holds and has begun."""

    tasks: tuple[Suspect, ...]
    held: frozenset[str] = frozenset()
    begun: frozenset[str] = frozenset()
    mistakes_left: int = 0


Moves = Iterator[Step[PoisonState]]
ALL_RULES = PoisonRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonModel:
    """One poison and some innocents."""

    rules: PoisonRules = ALL_RULES
    innocents: str = "ab"
    mistakes: int = 0

    def initial(self) -> PoisonState:
        tasks = tuple(Suspect(name=name) for name in POISON + self.innocents)
        return PoisonState(tasks, mistakes_left=self.mistakes)

    def is_goal(self, state: PoisonState) -> bool:
        return all(task.ended for task in state.tasks)

    def broken(self, state: PoisonState) -> str:
        for task in state.tasks:
            if task.name != POISON and task.ended == "poison":
                return f"task {task.name} is innocent and failed as PoisonTask"
        return ""

    def successors(self, state: PoisonState) -> Moves:
        if not state.held:
            for taken in self._takeable(state):
                yield Step(f"the worker takes {', '.join(sorted(taken))}", replace(state, held=taken))
        for task in state.tasks:
            if task.name not in state.held:
                continue
            if task.name not in state.begun:
                begun = state.begun | {task.name}
                if task.name == POISON:
                    yield Step("p begins and kills the worker", self._lose(replace(state, begun=begun)))
                else:
                    yield Step(f"{task.name} begins", replace(state, begun=begun))
            elif task.name != POISON:
                yield Step(f"{task.name} ends", _end(state, task))
        if state.held and state.mistakes_left:
            mistaken = replace(state, mistakes_left=state.mistakes_left - 1)
            label = "the worker is taken for dead by mistake"
            yield Step(label, self._lose(mistaken, mistake=True), fault=True)

    def _takeable(self, state: PoisonState) -> Iterator[frozenset[str]]:
        open_tasks = [task for task in state.tasks if not task.ended]
        alone_after = SHARED_LOSSES_MAX + 1 if self.rules.suspects_run_alone else LOSSES_MAX + 1
        sharing = [task.name for task in open_tasks if task.may_share(alone_after=alone_after)]
        sizes = range(1, len(sharing) + 1)
        for names in chain.from_iterable(combinations(sharing, size) for size in sizes):
            yield frozenset(names)
        for task in open_tasks:
            if task.name not in sharing:
                yield frozenset({task.name})

    def _lose(self, state: PoisonState, *, mistake: bool = False) -> PoisonState:
        """The worker is gone, or is believed to be: every lease it held is lost."""
        alone = len(state.held) == 1
        tasks: list[Suspect] = []
        for task in state.tasks:
            if task.name not in state.held:
                tasks.append(task)
                continue
            counts = alone and task.name in state.begun if self.rules.suspects_run_alone else True
            counts = counts and not (mistake and self.rules.mistakes_do_not_count)
            counted = task.counted + counts
            ended = "poison" if counted == LOSSES_MAX else ""
            tasks.append(replace(task, lost=min(task.lost + 1, LOSSES_MAX), counted=counted, ended=ended))
        return replace(state, tasks=tuple(tasks), held=frozenset(), begun=frozenset())


def _end(state: PoisonState, ended: Suspect) -> PoisonState:
    tasks = tuple(replace(task, ended="done") if task == ended else task for task in state.tasks)
    return replace(state, tasks=tasks, held=state.held - {ended.name}, begun=state.begun - {ended.name})
