"""`aiki server` and `aiki-server`: run a coordinator.

Invariant: what cannot be served is refused in one sentence, before anything is started where that is possible.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import signal
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import click
import structlog

from aiki_server.coordinator import serve
from aiki_server.settings import ServerSettings, ServerSettingsError, load_settings, origins
from aiki_server.store.errors import StoreError, StoreUnavailableError, StoreUnsafeError

EXIT_USAGE: Final = 2
EXIT_UNSERVABLE: Final = 3
EXIT_INTERRUPTED: Final = 130
PARENT_SECONDS: Final = 0.5
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_PASSWORD: Final = re.compile(r"(://[^/@:]*:)[^/@]*@")
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}


class UnservableError(Exception):
    """An address or a folder cannot be used; one sentence."""


def seconds_of(text: str) -> float:
    """Read "3s", "500ms", "1m" or plain seconds."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise click.BadParameter(f"{text!r} is not a duration: write 10s, 500ms or 1m")
    return float(found[1]) * _UNITS[found[2]]


def check(options: dict[str, object]) -> int:
    """Print the settings in force, as a table of aiki.toml that names the origin of each; the exit status."""
    try:
        settings = load_settings(**options)
        came_from = origins(options)
    except ServerSettingsError as error:
        return _refused(str(error), EXIT_USAGE)
    click.echo("[server]")
    for name, value in settings.model_dump(mode="json").items():
        shown = "" if value is None else _without_password(value) if isinstance(value, str) else value
        click.echo(f"{name} = {json.dumps(shown)}  # {came_from[name]}")
    return 0


def _without_password(text: str) -> str:
    return _PASSWORD.sub(r"\1***@", text)


def run(options: dict[str, object], ready_file: Path | None, parent: int | None) -> int:
    """Serve with these flags; returns the exit status.

    Args:
        options: what `ServerSettings` has; None is not given.
        ready_file: gets the address, as JSON, once it serves.
        parent: stop when this process, which started ours, is gone.
    """
    try:
        settings = load_settings(**options)
        check_listen(settings.listen)
        if settings.http:
            check_listen(settings.http, "--http")
        if not settings.store:
            _check_folder(settings.data or Path("aiki-data"), "the data folder", "--data")
        if ready_file is not None:
            _check_folder(ready_file.parent, "the folder of the ready file", "--ready-file")
        _log_to_stderr(settings.log_format)
        _run(settings, ready_file, parent)
    except ServerSettingsError as error:
        return _refused(str(error), EXIT_USAGE)
    except StoreUnsafeError as error:
        return _refused(f"the store is not safe: {error}", EXIT_UNSERVABLE)
    except StoreUnavailableError as error:
        return _refused(f"{error}: start it, or name another with --store", EXIT_UNSERVABLE)
    except (UnservableError, StoreError, OSError) as error:
        return _refused(str(error), EXIT_UNSERVABLE)
    except RuntimeError as error:
        if "Failed to bind" not in str(error):
            raise
        return _refused("the port was taken a moment ago: choose another with --listen", EXIT_UNSERVABLE)
    except (KeyboardInterrupt, asyncio.CancelledError):
        return EXIT_INTERRUPTED
    return 0


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="where to serve; port 0 takes a free one")
@click.option(
    "--http", metavar="HOST:PORT", help="where to serve /livez, /readyz and /metrics (default: nowhere)"
)
@click.option("--tls-cert", metavar="PATH", help="its certificate (PEM); with --tls-key it serves with TLS")
@click.option("--tls-key", metavar="PATH", help="the key of its certificate (PEM)")
@click.option("--tls-client-ca", metavar="PATH", help="lets in only whose certificate this one signed (PEM)")
@click.option(
    "--store", metavar="URL", help="see docs/stores.md for its forms; without it, an embedded store"
)
@click.option("--data", type=click.Path(path_type=Path), help="the folder of the embedded store")
@click.option(
    "--lease-ttl", metavar="DURATION", help="a worker not heard for this long is dead (default 10s)"
)
@click.option(
    "--allow-unsafe", is_flag=True, default=None, help="serve on a store that can lose acknowledged work"
)
@click.option("--log-format", type=click.Choice(["text", "json"]))
@click.option(
    "--ready-file", type=click.Path(path_type=Path), help="write the address here, as JSON, once it serves"
)
@click.option(
    "--check-config", is_flag=True, help="print the settings in force and where each comes from, and end"
)
@click.option("--exit-with-parent", is_flag=True, help="stop when the process that started this one is gone")
# The same, for a parent that may be gone before we can ask who it is.
@click.option("--parent", type=int, hidden=True)
def server(
    listen: str | None,
    http: str | None,
    tls_cert: str | None,
    tls_key: str | None,
    tls_client_ca: str | None,
    store: str | None,
    data: Path | None,
    lease_ttl: str | None,
    allow_unsafe: bool | None,  # noqa: FBT001  click passes by name
    log_format: str | None,
    ready_file: Path | None,
    check_config: bool,  # noqa: FBT001  click passes by name
    exit_with_parent: bool,  # noqa: FBT001  click passes by name
    parent: int | None,
) -> None:
    """Run a coordinator; Ctrl-C once drains it, twice stops it at once."""
    options: dict[str, object] = {
        "listen": listen,
        "http": http,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "store": store,
        "data": data,
        "lease_ttl_seconds": None if lease_ttl is None else seconds_of(lease_ttl),
        "allow_unsafe": allow_unsafe,
        "log_format": log_format,
    }
    if check_config:
        sys.exit(check(options))
    sys.exit(run(options, ready_file, parent or (os.getppid() if exit_with_parent else None)))


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Aiki's coordinator."""


main.add_command(server)


def check_listen(listen: str, option: str = "--listen") -> None:
    """Ask the system whether *listen* is free: gRPC would serve at half of `localhost` and not complain.

    Raises:
        UnservableError: it is taken, unknown, or none of this machine's.
    """
    host, _, port = listen.rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise UnservableError(f"cannot listen at {listen}: {host} is not known ({error.strerror})") from error
    problems = [problem for *_, address in found if (problem := _problem_with(address))]
    taken = [problem for problem in problems if problem.errno == errno.EADDRINUSE]
    if taken:
        raise UnservableError(
            f"cannot listen at {listen}: the port is taken; stop what listens there, or choose another with {option}"
        ) from taken[0]
    if len(problems) == len(found):
        raise UnservableError(
            f"cannot listen at {listen} ({problems[0].strerror}): choose another address with {option}"
        ) from problems[0]


def _problem_with(address: tuple[object, ...]) -> OSError | None:
    """Why nobody can listen at *address*, as `getaddrinfo` gives it."""
    is_v6 = len(address) == 4
    try:
        with socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET) as probe:
            if sys.platform != "win32":  # Where it lets two listen at once.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if is_v6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None


def _check_folder(folder: Path, what: str, option: str) -> None:
    """Make *folder* if need be, and write in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnservableError(
            f"{what} {folder} cannot be written ({error.strerror}): name another with {option}"
        ) from error


def _run(settings: ServerSettings, ready_file: Path | None, parent: int | None) -> None:
    factory = None
    if find_spec("uvloop") is not None:  # There is none for Windows.
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(settings, ready_file, parent))


async def _serve(settings: ServerSettings, ready_file: Path | None, parent: int | None) -> None:
    watching = None if parent is None else asyncio.create_task(_stop_without(parent))
    try:
        await serve(settings, ready_file=ready_file)
    finally:
        if watching is not None:
            watching.cancel()


async def _stop_without(parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110  the kernel tells nobody
        await asyncio.sleep(PARENT_SECONDS)
    signal.raise_signal(signal.SIGTERM)


def _log_to_stderr(form: Literal["text", "json"]) -> None:
    """In the form that workers log in."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            *((structlog.processors.format_exc_info,) if form == "json" else ()),
            structlog.processors.JSONRenderer()
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty() and "NO_COLOR" not in os.environ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )


def _refused(sentence: str, status: int) -> int:
    click.echo(f"aiki server: {sentence}", err=True)
    return status
