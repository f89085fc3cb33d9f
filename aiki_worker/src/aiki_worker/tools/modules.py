"""The modules of a project as syntax trees: what a name stands for, and where it is defined. Nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
DefinitionNode = FunctionNode | ast.ClassDef
Kind = Literal["task", "workflow", "plain"]

MARKS: Final[dict[str, Kind]] = {
    "aiki_sdk.workflow": "workflow",
    "aiki_workflow.workflow": "workflow",
    "aiki_sdk.task": "task",
    "aiki_task.task": "task",
}
HOPS_MAX: Final = 10
"""How often a name may be imported from one module into another."""


@dataclass(frozen=True, slots=True)
class Source:
    """The text of a module; a package's is that of its `__init__`."""

    text: str
    is_package: bool = False
    path: str = "<unknown>"


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed module. `names` says what its names stand for, as dotted names."""

    name: str
    tree: ast.Module
    lines: list[str]
    names: dict[str, str]
    definitions: dict[str, DefinitionNode]

    def dotted(self, node: ast.expr) -> str:
        """The dotted name an expression stands for; empty for others."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            base = self.dotted(node.value)
            return f"{base}.{node.attr}" if base else ""
        return ""

    def kind_of(self, node: DefinitionNode) -> Kind:
        """What its decorators make of a definition."""
        for mark in node.decorator_list:
            called = mark.func if isinstance(mark, ast.Call) else mark
            kind = MARKS.get(self.dotted(called))
            if kind is not None:
                return kind
        return "plain"


@dataclass(frozen=True, slots=True)
class Definition:
    """A function or class of the project."""

    module: Module
    node: DefinitionNode

    @property
    def kind(self) -> Kind:
        """What it is to Aiki."""
        return self.module.kind_of(self.node)

    @property
    def name(self) -> str:
        """Its dotted name."""
        return f"{self.module.name}.{self.node.name}"


@dataclass(slots=True)
class Project:
    """Modules by name, each read once. `load` gives the source of one; None for what is not the project's."""

    load: Callable[[str], Source | None]
    _modules: dict[str, Module | None] = field(default_factory=dict[str, "Module | None"])

    def module(self, name: str) -> Module | None:
        """A module of the project.

        Raises:
            SyntaxError: it is no Python.
        """
        if name not in self._modules:
            source = self.load(name)
            self._modules[name] = None if source is None else parse(name, source)
        return self._modules[name]

    def definition(self, dotted: str) -> Definition | None:
        """Where the function or class of this name is, through the modules that import it from each other."""
        for _ in range(HOPS_MAX):
            where, _, name = dotted.rpartition(".")
            module = self.module(where) if where else None
            if module is None:
                return None
            node = module.definitions.get(name)
            if node is not None:
                return Definition(module, node)
            further = module.names.get(name, dotted)
            if further == dotted:
                return None
            dotted = further
        return None


def parse(name: str, source: Source) -> Module:
    """A module from its text."""
    tree = ast.parse(source.text, source.path)
    definitions = {
        node.name: node
        for node in tree.body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
    }
    package = name if source.is_package else name.rpartition(".")[0]
    names = dict(_imported(tree, package)) | {own: f"{name}.{own}" for own in definitions}
    return Module(name, tree, source.text.splitlines(), names, definitions)


def _imported(tree: ast.Module, package: str) -> Iterable[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                own = alias.asname or alias.name.partition(".")[0]
                yield own, alias.name if alias.asname else own
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node, package)


def _imported_from(node: ast.ImportFrom, package: str) -> Iterator[tuple[str, str]]:
    origin = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        origin = ".".join([*above, *([origin] if origin else [])])
    for alias in node.names:
        yield alias.asname or alias.name, f"{origin}.{alias.name}"
