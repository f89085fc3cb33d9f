"""Redis servers of Debian's packages, on free ports and in a folder of their own: single, Cluster, Sentinel, TLS.

`python -m tests.cluster.servers cluster|sentinel|single` starts some, prints their address and waits for Ctrl-C; with a
command after that it runs the command, which finds the address in AIKI_TEST_STORE.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

MODULE = "tests.cluster.servers"
READY_SECONDS = 60.0
POLL_SECONDS = 0.05
NODE_TIMEOUT_MS = 2_000
BASE = (
    "appendonly yes",
    "appendfsync always",
    'save ""',
    "maxmemory-policy noeviction",
    "repl-diskless-sync-delay 0",
    "repl-backlog-size 4mb",
    "bind 127.0.0.1",
    "loglevel notice",
)


class MissingPackagesError(Exception):
    """Debian's packages are not there."""


def binary(name: str) -> str:
    """Where a program of the packages is.

    Raises:
        MissingPackagesError: it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise MissingPackagesError(f"{name} is missing: apt-get install redis-server redis-sentinel")
    return found


def free_port() -> int:
    """A port whose Cluster bus, at port + 10000, is free too."""
    while True:
        with socket.socket() as one, socket.socket() as bus:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            with contextlib.suppress(OSError, OverflowError):
                bus.bind(("127.0.0.1", port + 10_000))
                return port


def until(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Return when *holds* does; fail when the time is up."""
    give_up_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < give_up_at, f"not within {seconds:g} s: {what}"
        time.sleep(POLL_SECONDS)


@dataclass
class Server:
    """One process; `stop` and `start` may be called again and again, its data stays."""

    folder: Path
    lines: tuple[str, ...]
    port: int = field(default_factory=free_port)
    program: str = "redis-server"
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.conf"
        if not config.exists():
            port = () if any(line.startswith("port ") for line in self.lines) else (f"port {self.port}",)
            text = "\n".join((*port, f"dir {self.folder}", "logfile server.log", *self.lines, ""))
            config.write_text(text, encoding="utf-8")
        self.process = subprocess.Popen([binary(self.program), str(config)], stdout=subprocess.DEVNULL)
        until(lambda: "PONG" in self.ask("PING"), f"{self.address} answers", READY_SECONDS)

    def kill(self) -> None:
        """As a power loss does; nothing when it is not running."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def ask(self, *words: str) -> str:
        """What redis-cli prints."""
        command = [binary("redis-cli"), "-p", str(self.port), *self.options, *words]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30).stdout.strip()


@contextmanager
def single(folder: Path, *lines: str) -> Generator[Server]:
    """One server."""
    server = Server(folder / "single", (*BASE, *lines))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@dataclass
class ClusterOfServers:
    """`servers`: the primaries first, then as many replicas of each as there are."""

    servers: list[Server]

    @property
    def url(self) -> str:
        """Names three of them."""
        return f"redis+cluster://{','.join(server.address for server in self.servers[:3])}"

    def primaries(self) -> list[Server]:
        """Those that have slots now, by what a node that runs says."""
        alive = next(server for server in self.servers if server.process is not None)
        text = alive.ask("CLUSTER", "NODES")
        ports = [
            int(parts[1].split("@")[0].rpartition(":")[2])
            for line in text.splitlines()
            if (parts := line.split()) and "master" in parts[2] and "fail" not in parts[2] and len(parts) > 8
        ]
        return [server for server in self.servers if server.port in ports]

    def is_whole(self) -> bool:
        """Every node that runs sees all slots, and the same map."""
        running = [server for server in self.servers if server.process is not None]
        states = [server.ask("CLUSTER", "INFO") for server in running]
        return all("cluster_state:ok" in text and "cluster_slots_ok:16384" in text for text in states)

    def move_slots(self, count: int) -> None:
        """From the first primary to the second, while they serve.

        Raises:
            CalledProcessError: redis-cli could not.
        """
        source, target, *_ = self.primaries()
        command = [binary("redis-cli"), "--cluster", "reshard", source.address]
        command += [
            "--cluster-from",
            source.ask("CLUSTER", "MYID"),
            "--cluster-to",
            target.ask("CLUSTER", "MYID"),
        ]
        command += ["--cluster-slots", str(count), "--cluster-yes", "--cluster-pipeline", "100"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr


@contextmanager
def cluster(folder: Path, *lines: str, replicas: int = 1) -> Generator[ClusterOfServers]:
    """Three primaries, each with this many replicas."""
    own = (
        *BASE,
        "cluster-enabled yes",
        f"cluster-node-timeout {NODE_TIMEOUT_MS}",
        "cluster-replica-validity-factor 0",
    )
    servers = [Server(folder / f"node{number}", (*own, *lines)) for number in range(3 * (1 + replicas))]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start()
        command = [binary("redis-cli"), "--cluster", "create", *(server.address for server in servers)]
        command += ["--cluster-replicas", str(replicas), "--cluster-yes"]
        made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr
        nodes = ClusterOfServers(servers)
        until(nodes.is_whole, "the cluster is whole", READY_SECONDS)
        until(
            lambda: all(_replicas(one) == replicas for one in nodes.primaries()),
            "replicas follow",
            READY_SECONDS,
        )
        yield nodes


@dataclass
class Watched:
    """A primary with replicas, and who watches them."""

    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        """By its sentinels."""
        return f"redis+sentinel://{','.join(server.address for server in self.sentinels)}/aiki"

    def primary(self) -> Server:
        """Whom the sentinels name."""
        lines = self.sentinels[0].ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "aiki").splitlines()
        return next(server for server in self.servers if str(server.port) == lines[1])


@contextmanager
def sentinels(folder: Path, *lines: str, replicas: int = 2) -> Generator[Watched]:
    """One primary, its replicas, and three sentinels."""
    servers = [Server(folder / f"redis{number}", (*BASE, *lines)) for number in range(1 + replicas)]
    first = servers[0]
    for server in servers[1:]:
        server.lines += (f"replicaof 127.0.0.1 {first.port}",)
    rules = (
        f"sentinel monitor aiki 127.0.0.1 {first.port} 2",
        "sentinel down-after-milliseconds aiki 1000",
        "sentinel failover-timeout aiki 5000",
        "sentinel parallel-syncs aiki 2",
        "bind 127.0.0.1",
    )
    watchers = [Server(folder / f"sentinel{number}", rules, program="redis-sentinel") for number in range(3)]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start()
        until(lambda: _replicas(first) == replicas, "replicas follow", READY_SECONDS)
        for server in watchers:
            stack.callback(server.kill)
            server.start()
        until(lambda: all(_sees_all(one, replicas) for one in watchers), "sentinels agree", READY_SECONDS)
        yield Watched(servers, watchers)


def _replicas(server: Server) -> int:
    text = server.ask("INFO", "replication")
    return text.count("state=online")


def _sees_all(sentinel: Server, replicas: int) -> bool:
    text = sentinel.ask("INFO", "sentinel")
    return f"slaves={replicas},sentinels=3" in text


@contextmanager
def _started(kind: str, folder: Path) -> Iterator[str]:
    if kind == "cluster":
        with cluster(folder, "min-replicas-to-write 1") as nodes:
            yield nodes.url
    elif kind == "sentinel":
        with sentinels(folder, "min-replicas-to-write 1") as watched:
            yield watched.url
    else:
        with single(folder) as server:
            yield f"redis://{server.address}"


def main() -> None:
    """See the module."""
    kind, *command = sys.argv[1:] or [""]
    if kind not in {"cluster", "sentinel", "single"}:
        sys.exit(f"usage: python -m {MODULE} cluster|sentinel|single [COMMAND …]")
    with tempfile.TemporaryDirectory(prefix="aiki-servers-") as folder:
        try:
            with _started(kind, Path(folder)) as url:
                status = _use(url, command)
        except MissingPackagesError as error:
            sys.exit(str(error))
    sys.exit(status)


def _use(url: str, command: list[str]) -> int:
    """Run the command with the address in AIKI_TEST_STORE; without one print it, and wait."""
    if command:
        return subprocess.run(command, env={**os.environ, "AIKI_TEST_STORE": url}, check=False).returncode
    print(url, flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(3600)
    return 0


if __name__ == "__main__":
    main()
