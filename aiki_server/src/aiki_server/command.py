"""`aiki server` and `aiki-server`: run a coordinator."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from pathlib import Path
from typing import Any

import click
import structlog
import uvloop
from pydantic import ValidationError

from aiki_server.coordinator import serve
from aiki_server.settings import ServerSettings
from aiki_server.store.errors import StoreError, StoreUnsafeError

EXIT_USAGE = 2
EXIT_STORE = 3
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


def seconds_of(text: str) -> float:
    """Read "3s", "500ms" or plain seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        message = f"{text!r} is not a duration: write 10s or 500ms"
        raise click.BadParameter(message)
    return float(found[1]) * _UNITS[found[2]]


def run(options: dict[str, Any], ready_file: Path | None, *, exit_with_parent: bool) -> int:
    """Serve with these flags; returns the exit status."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    try:
        settings = ServerSettings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as error:
        click.echo(f"aiki server: {error}", err=True)
        return EXIT_USAGE
    try:
        uvloop.run(serve(settings, ready_file=ready_file, exit_with_parent=exit_with_parent))
    except StoreUnsafeError as error:
        click.echo(f"aiki server: the store is not safe: {error}", err=True)
        return EXIT_STORE
    except (StoreError, OSError, RuntimeError) as error:
        click.echo(f"aiki server: {error}", err=True)
        return EXIT_STORE
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="where to serve; port 0 takes a free one")
@click.option(
    "--store", metavar="URL", help="redis://, rediss:// or unix:///PATH; without it, an embedded store"
)
@click.option("--data", type=click.Path(path_type=Path), help="the folder of the embedded store")
@click.option(
    "--lease-ttl", metavar="DURATION", help="a worker not heard for this long is dead (default 10s)"
)
@click.option(
    "--allow-unsafe", is_flag=True, default=None, help="serve on a store that can lose acknowledged work"
)
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="write the address here, as JSON, once it serves"
)
@click.option("--exit-with-parent", is_flag=True, help="stop when the process that started this one is gone")
def server(
    listen: str | None,
    store: str | None,
    data: Path | None,
    lease_ttl: str | None,
    allow_unsafe: bool | None,  # noqa: FBT001  click passes by name
    ready_file: Path | None,
    exit_with_parent: bool,  # noqa: FBT001  click passes by name
) -> None:
    """Run a coordinator; Ctrl-C once drains it, twice stops it at once."""
    options = {
        "listen": listen,
        "store": store,
        "data": data,
        "lease_ttl_seconds": None if lease_ttl is None else seconds_of(lease_ttl),
        "allow_unsafe": allow_unsafe,
    }
    sys.exit(run(options, ready_file, exit_with_parent=exit_with_parent))


@click.group()
def main() -> None:
    """Aiki's coordinator."""


main.add_command(server)
