"""Graphs of tasks for people who think in dependencies: declared once, run inside a workflow.

A node starts when what it depends on is over in the way its join asks for, so a graph is as parallel as it can
be. Conditions and joins are those of workflow nets (van der Aalst, "The Application of Petri Nets to Workflow
Management", 1998): `all` is an AND join, `any` an OR join that does not wait for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum, unique
from typing import Any, Generic, Literal, TypeGuard, TypeVar, cast

from aiki_task.errors import DefinitionError, Failure
from aiki_task.retry import Retry
from aiki_task.task import Task
from aiki_workflow.definition import Workflow

R = TypeVar("R")
T = TypeVar("T")

Join = Literal["all", "any", "settled"]
"""When a node starts: when all it comes after have succeeded, when any has, or when all are over."""


@unique
class NodeState(StrEnum):
    """How a node ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class GraphError(DefinitionError):
    """A graph is not well formed, or is run with the wrong inputs."""


class GraphFailed(Failure):
    """Nodes of a graph failed; the rest has run as far as it could.

    Attributes:
        failures: what each failed node raised, by the node's name.
        results: what became of all nodes.
    """

    def __init__(self, graph: str, failures: Mapping[str, BaseException], results: Results) -> None:
        told = "; ".join(f"{name}: {error}" for name, error in failures.items())
        super().__init__(f"{len(failures)} of the nodes of graph {graph!r} failed: {told}")
        self.failures = dict(failures)
        self.results = results


@dataclass(frozen=True, slots=True, eq=False)
class Input(Generic[T]):
    """A value that `Graph.run` is given by name."""

    graph: Graph
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Node(Generic[R]):
    """A call in a graph; what it returns is an argument of others, or looked up in `Results`."""

    graph: Graph
    name: str
    call: Task[..., R] | Workflow[..., R]
    args: Sequence[object]
    needs: Sequence[Node[Any]]
    """Nodes whose results are arguments: all of them must have succeeded."""
    after: Sequence[Node[Any]]
    join: Join
    when: Callable[[Results], bool] | None
    may_fail: bool

    @property
    def sources(self) -> list[Node[Any]]:
        """All nodes it waits for, each once."""
        return list(dict.fromkeys([*self.needs, *self.after]))

    def __repr__(self) -> str:
        return f"<node {self.name!r} of graph {self.graph.name!r}>"


class Results:
    """What became of the nodes that are over: `results[node]` is what one returned."""

    def __init__(self) -> None:
        self._states: dict[str, NodeState] = {}
        self._values: dict[str, Any] = {}
        self._errors: dict[str, Exception] = {}

    def __getitem__(self, node: Node[R]) -> R:
        """What *node* returned.

        Raises:
            KeyError: it was skipped, has failed, or is not over.
        """
        if node.name not in self._values:
            raise KeyError(
                f"node {node.name!r} has no result: it is {self._states.get(node.name, 'not over')}"
            )
        return cast("R", self._values[node.name])

    def get(self, node: Node[R], default: T) -> R | T:
        """What *node* returned, or *default* when there is no result."""
        return cast("R | T", self._values.get(node.name, default))

    def state(self, node: Node[Any]) -> NodeState | None:
        """How *node* ended; None while it is not over."""
        return self._states.get(node.name)

    def error(self, node: Node[Any]) -> Exception | None:
        """What a failed *node* raised."""
        return self._errors.get(node.name)

    def succeeded(self, node: Node[R], value: R) -> None:
        """Remember a result; for the graph."""
        self._values[node.name] = value
        self._states[node.name] = NodeState.SUCCEEDED

    def failed(self, node: Node[Any], error: Exception) -> None:
        """Remember a failure; for the graph."""
        self._errors[node.name] = error
        self._states[node.name] = NodeState.FAILED

    def skipped(self, node: Node[Any]) -> None:
        """Remember that it did not run; for the graph."""
        self._states[node.name] = NodeState.SKIPPED


class Graph:
    """Tasks and child workflows with what they depend on.

    orders = Graph("order")
    order = orders.input("order", Order)
    paid = orders.add(charge, order)
    sent = orders.add(ship, order, after=[paid])

    A node can only come after nodes that are there, so there are no cycles.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: dict[str, Node[Any]] = {}
        self.inputs: dict[str, Input[Any]] = {}

    def __repr__(self) -> str:
        return f"<graph {self.name!r} of {len(self.nodes)} nodes>"

    def input(self, name: str, hint: type[T]) -> Input[T]:
        """A value to be given to `run` under this name; *hint* is for readers and type checkers.

        Raises:
            GraphError: the name is in use.
        """
        _ = hint
        if name in self.inputs:
            raise GraphError(f"graph {self.name!r} has an input {name!r} already")
        made: Input[T] = Input(self, name)
        self.inputs[name] = made
        return made

    def add(
        self,
        call: Task[..., R] | Workflow[..., R],
        *args: object,
        name: str | None = None,
        after: Sequence[Node[Any]] = (),
        when: Callable[[Results], bool] | None = None,
        join: Join = "all",
        retry: Retry | None = None,
        may_fail: bool = False,
    ) -> Node[R]:
        """A node that calls a task, or runs a child workflow.

        Args:
            call: what it calls.
            args: its arguments: values, inputs of the graph, and nodes, which stand for what they return.
            name: what it is called in drawings and errors; by default what it calls is called.
            after: nodes that it comes after, besides those among *args*.
            when: asked when it could start; it is skipped when that says no. Must be deterministic.
            join: what of *after* it waits for.
            retry: instead of the task's own retries.
            may_fail: its failure does not make the graph fail.

        Raises:
            GraphError: the name is in use, a node is of another graph, or *retry* is given for a workflow.
        """
        own = call.name if name is None else name
        if own in self.nodes:
            raise GraphError(f"graph {self.name!r} has a node {own!r} already: give this one another name=")
        needs = [arg for arg in args if is_node(arg)]
        parts: list[Node[Any] | Input[Any]] = [*needs, *after, *(arg for arg in args if is_input(arg))]
        for part in parts:
            if part.graph is not self:
                raise GraphError(f"{part.name!r} belongs to graph {part.graph.name!r}, not to {self.name!r}")
        if retry is not None:
            if not isinstance(call, Task):
                raise GraphError(f"node {own!r} calls a workflow: retry= is for tasks")
            call = call.with_(retry=retry)
        node: Node[R] = Node(self, own, call, args, needs, tuple(after), join, when, may_fail)
        self.nodes[own] = node
        return node

    async def run(self, **inputs: object) -> Results:
        """Run every node that its join and its condition let run; what became of each.

        Independent branches go on when a node fails.

        Raises:
            GraphFailed: a node failed, unless it may; after all others are over.
            GraphError: an input is missing, or there is no such input.
        """
        if inputs.keys() != self.inputs.keys():
            wrong = ", ".join(sorted(inputs.keys() ^ self.inputs.keys()))
            raise GraphError(f"graph {self.name!r} takes {sorted(self.inputs)}: missing or unknown: {wrong}")
        results = await _Execution(self, inputs).run()
        failures = {
            node.name: error
            for node in self.nodes.values()
            if not node.may_fail and (error := results.error(node)) is not None
        }
        if failures:
            raise GraphFailed(self.name, failures, results)
        return results


class _Execution:
    """One run of a graph. Invariant: a node's task ends normally, whatever became of the node."""

    def __init__(self, graph: Graph, inputs: Mapping[str, object]) -> None:
        self._graph = graph
        self._inputs = inputs
        self._results = Results()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> Results:
        try:
            async with asyncio.TaskGroup() as group:
                for node in self._graph.nodes.values():
                    self._tasks[node.name] = group.create_task(self._settle(node), name=node.name)
        except ExceptionGroup as group_error:
            # A condition raised: that is a bug of its author, whom the group itself would tell nothing.
            raise group_error.exceptions[0] from None
        return self._results

    async def _settle(self, node: Node[Any]) -> None:
        results = self._results
        if not await self._may_start(node) or (node.when is not None and not node.when(results)):
            results.skipped(node)
            return
        values = [self._value(arg) for arg in node.args]
        try:
            results.succeeded(node, await node.call(*values))
        except Exception as error:  # noqa: BLE001  it is the node's outcome
            results.failed(node, error)

    async def _may_start(self, node: Node[Any]) -> bool:
        await self._over(node.needs)
        if not all(map(self._succeeded, node.needs)):
            return False
        if node.join == "any":
            return not node.after or await self._any(node.after)
        await self._over(node.after)
        return node.join == "settled" or all(map(self._succeeded, node.after))

    async def _over(self, nodes: Sequence[Node[Any]]) -> None:
        for node in nodes:
            await asyncio.wait([self._tasks[node.name]])

    async def _any(self, nodes: Sequence[Node[Any]]) -> bool:
        # In the order in which they were declared, and never a set of tasks: replay must see the same.
        waiting: list[Node[Any]] = list(nodes)
        while waiting:
            if any(map(self._succeeded, nodes)):
                return True
            await asyncio.wait(
                [self._tasks[node.name] for node in waiting], return_when=asyncio.FIRST_COMPLETED
            )
            waiting = [node for node in waiting if not self._tasks[node.name].done()]
        return any(map(self._succeeded, nodes))

    def _succeeded(self, node: Node[Any]) -> bool:
        return self._results.state(node) is NodeState.SUCCEEDED

    def _value(self, arg: object) -> object:
        if is_node(arg):
            return self._results[arg]
        return self._inputs[arg.name] if is_input(arg) else arg


def is_node(arg: object) -> TypeGuard[Node[Any]]:
    """Whether an argument stands for what a node returns."""
    return isinstance(arg, Node)


def is_input(arg: object) -> TypeGuard[Input[Any]]:
    """Whether an argument stands for an input of the graph."""
    return isinstance(arg, Input)
