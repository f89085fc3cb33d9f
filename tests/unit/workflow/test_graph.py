"""Graphs: what runs, what is skipped, how they are drawn. Outside a run their tasks are plain calls."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from aiki_task import task
from aiki_workflow import Graph, GraphError, GraphFailed, Node, NodeState, Results
from aiki_workflow.drawing import to_dot, to_text
from aiki_workflow.graph import Join

DOT = r"""
digraph "order" {
  rankdir=LR;
  node [shape=box, style=rounded];
  "amount" [shape=ellipse, style=dashed];
  "double" [label="double"];
  "amount" -> "double";
  "add" [label="add\nwhen is_large\nmay fail"];
  "double" -> "add";
  "last" [label="last\njoin any\nwhen a condition holds"];
  "double" -> "last" [style=dashed];
  "add" -> "last" [style=dashed];
}
"""
JOINS: list[Join] = ["all", "any", "settled"]


@task
async def double(value: int) -> int:
    """Twice the value."""
    return 2 * value


@task
async def add(left: int, right: int) -> int:
    """The sum."""
    return left + right


@task
async def step(name: str, fails: bool, delay: int) -> str:
    """Takes *delay* turns of the loop."""
    for _ in range(delay):
        await asyncio.sleep(0)
    if fails:
        raise RuntimeError(name)
    return name


def is_large(results: Results) -> bool:
    """A condition with a name."""
    return any(results.state(node) is NodeState.SUCCEEDED for node in _LARGE)


_LARGE: list[Node[Any]] = []


async def test_results_are_arguments() -> None:
    """A node begins when what it is given is there."""
    graph = Graph("sum")
    start = graph.input("start", int)
    left = graph.add(double, start, name="left")
    right = graph.add(double, 5, name="right")
    both = graph.add(add, left, right)

    results = await graph.run(start=4)

    total: int = results[both]
    assert total == 18
    assert results.get(left, None) == 8


async def test_conditions_skip_what_comes_after() -> None:
    """A skipped node has no result, and what needs it is skipped too, unless it takes any."""
    graph = Graph("choice")
    first = graph.add(double, 1)
    cheap = graph.add(double, 2, name="cheap", after=[first], when=lambda results: results[first] < 2)
    dear = graph.add(double, 3, name="dear", after=[first], when=lambda results: results[first] >= 2)
    needs_cheap = graph.add(double, cheap, name="needs cheap")
    merged = graph.add(double, 4, name="merged", after=[cheap, dear], join="any")

    results = await graph.run()

    assert {node.name: results.state(node) for node in graph.nodes.values()} == {
        "double": NodeState.SUCCEEDED,
        "cheap": NodeState.SKIPPED,
        "dear": NodeState.SUCCEEDED,
        "needs cheap": NodeState.SKIPPED,
        "merged": NodeState.SUCCEEDED,
    }
    assert results[merged] == 8
    with pytest.raises(KeyError, match="'needs cheap' has no result: it is skipped"):
        _ = results[needs_cheap]


async def test_other_branches_go_on_when_a_node_fails() -> None:
    """The error names what failed, and has what did not."""
    graph = Graph("branches")
    broken = graph.add(step, "broken", True, 0, name="broken")
    after = graph.add(step, "after", False, 0, name="after", after=[broken])
    clean_up = graph.add(step, "clean up", False, 0, name="clean up", after=[broken], join="settled")
    other = graph.add(step, "other", False, 9, name="other")

    with pytest.raises(
        GraphFailed, match="1 of the nodes of graph 'branches' failed: broken: broken"
    ) as raised:
        await graph.run()

    results = raised.value.results
    assert results[clean_up] == "clean up"
    assert results[other] == "other"
    assert results.state(after) is NodeState.SKIPPED
    assert isinstance(results.error(broken), RuntimeError)


async def test_a_node_that_may_fail() -> None:
    """Its failure is a result like others."""
    graph = Graph("lenient")
    broken = graph.add(step, "broken", True, 0, may_fail=True)

    results = await graph.run()

    assert results.state(broken) is NodeState.FAILED


async def test_any_does_not_wait_for_the_rest() -> None:
    """The slow one is still under way when it starts."""
    graph = Graph("race")
    over = asyncio.Event()

    @task
    async def waits() -> None:
        await over.wait()

    @task
    async def ends() -> None:
        over.set()

    slow = graph.add(waits)
    quick = graph.add(double, 1)
    graph.add(ends, after=[slow, quick], join="any")

    async with asyncio.timeout(5):
        await graph.run()


async def test_a_condition_that_raises_is_a_bug() -> None:
    """It is raised as it is."""
    graph = Graph("broken condition")
    graph.add(double, 1, when=lambda _: 1 // 0 == 0)

    with pytest.raises(ZeroDivisionError):
        await graph.run()


def test_what_no_graph_can_have() -> None:
    """Each message says what to do."""
    graph, other = Graph("one"), Graph("two")
    start = graph.input("start", int)
    graph.add(double, start)
    with pytest.raises(GraphError, match="has a node 'double' already: give this one another name="):
        graph.add(double, 2)
    with pytest.raises(GraphError, match="has an input 'start' already"):
        graph.input("start", int)
    with pytest.raises(GraphError, match="'double' belongs to graph 'one', not to 'two'"):
        other.add(add, graph.nodes["double"], 1)
    with pytest.raises(GraphError, match="'start' belongs to graph 'one'"):
        other.add(double, start)
    with pytest.raises(GraphError, match="missing or unknown: end, start"):
        asyncio.run(graph.run(end=1))


def test_drawings() -> None:
    """What the edges do not say is written out."""
    graph = Graph("order")
    amount = graph.input("amount", int)
    first = graph.add(double, amount)
    second = graph.add(add, first, 1, when=is_large, may_fail=True)
    graph.add(step, "x", False, 0, name="last", after=[first, second], join="any", when=lambda _: True)

    assert to_text(graph) == (
        "order: 3 nodes\n"
        "  double(amount)\n"
        "  add(double, 1)            when is_large, may fail\n"
        "  last: step('x', False, 0)  after double, add, join any, when a condition holds"
    ).replace("add(double, 1)            when", "add(double, 1)             when")
    assert to_dot(graph) == DOT.strip()


def _always(_: Results) -> bool:
    return True


def _never(_: Results) -> bool:
    return False


@st.composite
def plans(draw: st.DrawFn) -> list[tuple[list[int], Join, bool, bool, int]]:
    """For each node: what it comes after, its join, whether its condition holds, whether it fails, its turns."""
    plan: list[tuple[list[int], Join, bool, bool, int]] = []
    for number in range(draw(st.integers(1, 8))):
        after = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        join = draw(st.sampled_from(JOINS))
        plan.append(
            (after, join, draw(st.integers(0, 4)) > 0, draw(st.integers(0, 4)) == 0, draw(st.integers(0, 5)))
        )
    return plan


def expected(plan: list[tuple[list[int], Join, bool, bool, int]]) -> list[NodeState]:
    """The states by definition, one after another."""
    states: list[NodeState] = []
    for after, join, holds, fails, _ in plan:
        succeeded = [states[source] is NodeState.SUCCEEDED for source in after]
        starts = join == "settled" or (not after or any(succeeded) if join == "any" else all(succeeded))
        if not (starts and holds):
            states.append(NodeState.SKIPPED)
        else:
            states.append(NodeState.FAILED if fails else NodeState.SUCCEEDED)
    return states


@settings(max_examples=300, deadline=None)
@given(plans())
def test_states_are_those_of_the_definition(plan: list[tuple[list[int], Join, bool, bool, int]]) -> None:
    """Whatever the order in which nodes end."""
    graph = Graph("random")
    nodes: list[Node[str]] = []
    for number, (after, join, holds, fails, delay) in enumerate(plan):
        sources = [nodes[source] for source in after]
        node = graph.add(
            step,
            str(number),
            fails,
            delay,
            name=str(number),
            after=sources,
            join=join,
            when=_always if holds else _never,
            may_fail=True,
        )
        nodes.append(node)

    results = asyncio.run(graph.run())

    assert [results.state(node) for node in nodes] == expected(plan)
