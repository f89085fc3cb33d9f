"""`aiki lint`: find what makes workflow code diverge on replay, before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from aiki_worker.tools.modules import Project, Source
from aiki_worker.tools.rules import Finding, check


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def lint(paths: tuple[Path, ...]) -> int:
    """Check the workflows in PATHS, files or folders; by default in this folder.

    What workflows use of other modules of the same project is looked at too. Exits with 1 when there are findings.
    A comment "aiki: allow" on a line lets it be.
    """
    told: set[tuple[Path, Finding]] = set()
    for file in _files(paths or (Path(),)):
        told |= set(_findings(file))
    for path, finding in sorted(told):
        click.echo(f"{path}:{finding.line}:{finding.column}: {finding.code} {finding.message}")
    return 1 if told else 0


def _findings(file: Path) -> Iterator[tuple[Path, Finding]]:
    """What is found in a file, and where: it may be in another."""
    root, name = _place_of(file)
    read: dict[str, Path] = {name: file}

    def load(module: str) -> Source | None:
        path = read.get(module) or _path_of(module, (root, Path()))
        if path is None:
            return None
        read[module] = path
        return Source(_text(path), is_package=path.name == "__init__.py", path=str(path))

    project = Project(load)
    try:
        module = project.module(name)
        assert module is not None
        for finding in check(project, module):
            yield read[finding.module or name], finding
    except SyntaxError as error:
        raise click.ClickException(f"{error.filename or file}: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{path}: {error}") from error


def _place_of(file: Path) -> tuple[Path, str]:
    """The folder that the file's package is in, and its dotted name."""
    folder, parts = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (folder / "__init__.py").exists() and folder.resolve().name:
        parts.insert(0, folder.resolve().name)
        folder = folder / ".." if folder in {Path(), Path("..")} or folder.name == ".." else folder.parent
    return folder, ".".join(parts)


def _path_of(module: str, roots: tuple[Path, ...]) -> Path | None:
    """The file of a module that lies under one of the folders; None for what is installed."""
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    for root in roots:
        for path in (root.joinpath(*parts).with_suffix(".py"), root.joinpath(*parts, "__init__.py")):
            if path.is_file():
                return path
    return None


def _files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(
                file
                for file in path.rglob("*.py")
                if not any(part.startswith(".") for part in file.relative_to(path).parts)
            )
        else:
            yield path
