"""Graphs as text for people and for Graphviz."""

from __future__ import annotations

from typing import Any

from aiki_workflow.graph import Graph, Node, is_input, is_node


def to_text(graph: Graph) -> str:
    """One line for each node, in an order in which they can run: its call, and what it waits for."""
    calls = {name: _call(node) for name, node in graph.nodes.items()}
    width = max(map(len, calls.values()), default=0)
    lines = [f"{graph.name}: {len(graph.nodes)} nodes"]
    for name, node in graph.nodes.items():
        lines.append(f"  {calls[name]:<{width}}  {_condition(node)}".rstrip())
    return "\n".join(lines)


def to_dot(graph: Graph) -> str:
    """The graph in the language of Graphviz: `aiki graph show MODULE --format dot | dot -Tsvg`."""
    lines = [f"digraph {_quoted(graph.name)} {{", "  rankdir=LR;", "  node [shape=box, style=rounded];"]
    lines += [f"  {_quoted(name)} [shape=ellipse, style=dashed];" for name in graph.inputs]
    for name, node in graph.nodes.items():
        label = [name, *_notes(node)]
        lines.append(f"  {_quoted(name)} [label={_quoted(chr(10).join(label))}];")
        given = {arg.name for arg in node.args if is_input(arg)}
        lines += [f"  {_quoted(source)} -> {_quoted(name)};" for source in graph.inputs if source in given]
        for source in node.sources:
            style = "" if source in node.needs else " [style=dashed]"
            lines.append(f"  {_quoted(source.name)} -> {_quoted(name)}{style};")
    return "\n".join([*lines, "}"])


def _call(node: Node[Any]) -> str:
    args = ", ".join(arg.name if is_node(arg) or is_input(arg) else repr(arg) for arg in node.args)
    label = "" if node.name == node.call.name else f"{node.name}: "
    return f"{label}{node.call.name}({args})"


def _condition(node: Node[Any]) -> str:
    after = f"after {', '.join(source.name for source in node.after)}" if node.after else ""
    return ", ".join(filter(None, [after, *_notes(node)]))


def _notes(node: Node[Any]) -> list[str]:
    """What its edges do not say."""
    notes: list[str] = []
    if node.join != "all":
        notes.append(f"join {node.join}")
    if node.when is not None:
        name = getattr(node.when, "__name__", "")
        notes.append("when a condition holds" if name in {"", "<lambda>"} else f"when {name}")
    if node.may_fail:
        notes.append("may fail")
    return notes


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
