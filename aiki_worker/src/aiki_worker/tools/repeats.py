"""Calls of tasks and children that nothing but their order tells apart."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from aiki_worker.tools.modules import FUNCTIONS, Module, Project

Branch = tuple[int, int]
"""A statement with branches, and which of them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call, what names it, the branches it is in, and those of them that leave the function at their end."""

    node: ast.Call
    name: str
    branches: tuple[Branch, ...]
    leaving: frozenset[Branch]

    def excludes(self, other: Call) -> bool:
        """Whether at most one of the two is made."""
        mine, theirs = dict(self.branches), dict(other.branches)
        if any(theirs.get(statement, branch) != branch for statement, branch in mine.items()):
            return True
        return any(statement not in theirs for statement, _ in self.leaving) or any(
            statement not in mine for statement, _ in other.leaving
        )


def repeated(project: Project, module: Module, body: list[ast.stmt]) -> Iterator[tuple[ast.Call, str, int]]:
    """Each call that repeats an earlier one: the call, the name of what it calls, and the line of the earlier."""
    for function in _functions(body):
        known: dict[tuple[str, str], list[Call]] = defaultdict(list)
        changing = _changing(function)
        for call in _calls(project, module, function):
            arguments = [*call.node.args, *(word.value for word in call.node.keywords)]
            if any(_may_differ(argument, changing) for argument in arguments):
                continue
            words = sorted((word.arg or "", ast.dump(word.value)) for word in call.node.keywords)
            known[call.name, f"{[ast.dump(value) for value in call.node.args]}{words}"].append(call)
        for calls in known.values():
            told: set[int] = set()
            for first, later in combinations(calls, 2):
                if id(later.node) not in told and not first.excludes(later):
                    told.add(id(later.node))
                    yield later.node, later.name.rpartition(".")[2], first.node.lineno


def _functions(body: list[ast.stmt]) -> Iterator[list[ast.stmt]]:
    """The body of a function; of a class, the bodies of its methods."""
    methods = [statement for statement in body if isinstance(statement, FUNCTIONS)]
    if methods:
        for method in methods:
            yield from _functions(method.body)
    yield [statement for statement in body if not isinstance(statement, FUNCTIONS)]


def _calls(
    project: Project,
    module: Module,
    body: list[ast.stmt],
    branches: tuple[Branch, ...] = (),
    leaving: frozenset[Branch] = frozenset(),
) -> Iterator[Call]:
    for statement in body:
        blocks = _blocks(statement)
        inside = {id(child) for block in blocks for child in block}
        for node in _own_nodes(statement, inside):
            if isinstance(node, ast.Call):
                name = _name_of(project, module, node)
                if name:
                    yield Call(node, name, branches, leaving)
        is_fork = isinstance(statement, (ast.If, ast.Match))
        for number, block in enumerate(blocks):
            if not is_fork:
                yield from _calls(project, module, block, branches, leaving)
                continue
            here = (id(statement), number)
            leaves = leaving | {here} if block and isinstance(block[-1], (ast.Return, ast.Raise)) else leaving
            yield from _calls(project, module, block, (*branches, here), leaves)


def _blocks(statement: ast.stmt) -> list[list[ast.stmt]]:
    """The statements within one, block by block."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        return []
    blocks = [getattr(statement, name, []) for name in ("body", "orelse", "finalbody")]
    blocks += [part.body for name in ("handlers", "cases") for part in getattr(statement, name, [])]
    return blocks


def _own_nodes(statement: ast.stmt, without: set[int]) -> Iterator[ast.AST]:
    """What is in a statement, in order of the text."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if id(node) in without or (node is not statement and isinstance(node, (*FUNCTIONS, ast.Lambda))):
            continue
        yield node
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _name_of(project: Project, module: Module, call: ast.Call) -> str:
    """The task or child that is called, unless the call has a name of its own."""
    function: ast.expr = call.func
    if isinstance(function, ast.Attribute) and function.attr == "start":
        function = function.value
    if isinstance(function, ast.Call) and isinstance(function.func, ast.Attribute):
        if function.func.attr != "with_" or any(word.arg in {"key", "id"} for word in function.keywords):
            return ""
        function = function.func.value
    found = project.definition(module.dotted(function))
    return found.name if found is not None and found.kind != "plain" else ""


def _changing(body: list[ast.stmt]) -> set[str]:
    """Names that are given a value more than once, or in a loop, and attributes that are given one."""
    count: Counter[str] = Counter()
    for node in (child for statement in body for child in ast.walk(statement)):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            count[node.id] += 1
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            count[node.attr] += 2
        elif isinstance(node, (ast.For, ast.AsyncFor, ast.While)):
            for inner in ast.walk(node):
                if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                    count[inner.id] += 1
    return {name for name, times in count.items() if times > 1}


def _may_differ(argument: ast.expr, changing: set[str]) -> bool:
    for node in ast.walk(argument):
        if isinstance(node, (ast.Call, ast.Await, ast.Starred)):
            return True
        if isinstance(node, ast.Name) and node.id in changing:
            return True
        if isinstance(node, ast.Attribute) and node.attr in changing:
            return True
    return False
