"""`aiki lint`: find what makes workflow code diverge on replay, before it runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from aiki_worker.tools.rules import findings


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
def lint(paths: tuple[Path, ...]) -> int:
    """Check the workflows in PATHS, files or folders; by default in this folder.

    Exits with 1 when there are findings. A comment "aiki: allow" on a line lets it be.
    """
    count = 0
    for file in _files(paths or (Path(),)):
        try:
            found = findings(file.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{file}: {error}") from error
        for finding in found:
            click.echo(f"{file}:{finding.line}:{finding.column}: {finding.code} {finding.message}")
        count += len(found)
    return 1 if count else 0


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
