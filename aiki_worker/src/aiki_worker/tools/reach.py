"""What code runs in workflows: their own bodies, and the functions of the project that they use, and so on."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from aiki_worker.tools.modules import FUNCTIONS, Definition, DefinitionNode, Module, Project


@dataclass(frozen=True, slots=True)
class Reached:
    """Code that runs in a workflow. `workflow` names it, if the code is not its own body."""

    module: Module
    node: DefinitionNode
    workflow: str = ""

    @property
    def body(self) -> list[ast.stmt]:
        """Its statements."""
        return self.node.body


def reached(project: Project, module: Module) -> Iterator[Reached]:
    """What the workflows of *module* run, each piece once."""
    seen: set[int] = set()
    for node in ast.walk(module.tree):
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            continue
        if module.kind_of(node) == "workflow":
            yield Reached(module, node)
            yield from _followed(project, module, node.body, node.name, seen)


def _followed(
    project: Project, module: Module, body: list[ast.stmt], workflow: str, seen: set[int]
) -> Iterator[Reached]:
    waiting = [(module, body)]
    while waiting:
        where, code = waiting.pop()
        for function in _used(project, where, code):
            node = function.node
            if id(node) not in seen:
                seen.add(id(node))
                yield Reached(function.module, node, workflow)
                waiting.append((function.module, node.body))


def _used(project: Project, module: Module, body: list[ast.stmt]) -> Iterator[Definition]:
    """The functions of the project that code names: those it calls, and those it gives to others to call."""
    attributes = {node.attr for node in _walk(body) if isinstance(node, ast.Attribute)}
    for node in _walk(body):
        if not isinstance(node, (ast.Name, ast.Attribute)):
            continue
        found = project.definition(module.dotted(node))
        if found is None or found.kind != "plain":
            continue
        if isinstance(found.node, ast.ClassDef):
            yield from _methods(found, attributes | {"__init__", "__post_init__"})
        else:
            yield found


def _methods(owner: Definition, names: set[str]) -> Iterator[Definition]:
    """Methods of a class that are used by name, as far as can be told without types."""
    for node in owner.node.body:
        if isinstance(node, FUNCTIONS) and node.name in names and owner.module.kind_of(node) == "plain":
            yield Definition(owner.module, node)


def _walk(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for statement in body:
        yield from ast.walk(statement)
