"""The flusher batches, keeps order, survives whatever the store says, and never mixes replies up."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import hiredis
import pytest

from aiki_server.core.runs import RunState, Started
from aiki_server.store import Stores, StoreSettings, open_store
from aiki_server.store.address import Address
from aiki_server.store.errors import (
    VERDICTS,
    StoreFullError,
    StoreScriptError,
    StoreUnavailableError,
    StoreUnsafeError,
    Verdict,
    error_of,
    verdict_of,
)
from aiki_server.store.flusher import Flusher
from aiki_server.store.replies import as_it_is
from tests.support.store import NAMESPACE, PARTITIONS, a_grant, a_run, a_start, call

Answer = Callable[[list[bytes]], bytes]


class Peer:
    """A store that answers as a test tells it to; `frames` has the commands that came together."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.frames: list[list[list[bytes]]] = []
        self.connections = 0
        self.drop_next = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        parser = hiredis.Reader()
        try:
            while data := await reader.read(1 << 20):
                parser.feed(data)
                frame: list[list[bytes]] = []
                while command := parser.gets():
                    frame.append(command)
                self.frames.append(frame)
                if self.drop_next:
                    self.drop_next = False
                    return
                writer.write(b"".join(self.answer(command) for command in frame))
        finally:
            writer.close()


@asynccontextmanager
async def flusher_to(peer: Peer, folder: Path) -> AsyncGenerator[Flusher]:
    path = folder / "peer.sock"
    async with await asyncio.start_unix_server(peer.serve, str(path)):
        flusher = Flusher(Address(path=str(path)), ["return 1"])
        running = asyncio.ensure_future(flusher.run())
        await flusher.connected.wait()
        peer.frames.clear()
        yield flusher
        running.cancel()
        await asyncio.wait({running})


def echo(command: list[bytes]) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(command[-1]), command[-1])


async def test_what_gathers_goes_as_one_pipeline(tmp_path: Path) -> None:
    """The first call goes at once; those made while it is in flight go together."""
    peer = Peer(echo)
    async with flusher_to(peer, tmp_path) as flusher:
        first = flusher.submit(("ECHO", "0"), as_it_is)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        rest = [flusher.submit(("ECHO", str(number)), as_it_is) for number in range(1, 50)]

        assert await first == b"0"
        assert [await one for one in rest] == [b"%d" % number for number in range(1, 50)]
        assert [len(frame) for frame in peer.frames] == [1, 49]


async def test_cancelling_a_caller_harms_nobody_else(tmp_path: Path) -> None:
    """Replies still go to who asked, whether the call was sent or not."""
    peer = Peer(echo)
    async with flusher_to(peer, tmp_path) as flusher:
        calls = [flusher.submit(("ECHO", str(number)), as_it_is) for number in range(10)]
        calls[3].cancel()
        await asyncio.sleep(0)
        calls[5].cancel()
        others = [await call for number, call in enumerate(calls) if number not in {3, 5}]
        assert others == [b"%d" % number for number in range(10) if number not in {3, 5}]
        assert [command[-1] for command in peer.frames[0]] == [b"%d" % n for n in range(10) if n != 3]


async def test_a_lost_connection_has_calls_sent_again_in_order(tmp_path: Path) -> None:
    """Until they are answered; the setup comes first on the new connection."""
    peer = Peer(echo)
    async with flusher_to(peer, tmp_path) as flusher:
        peer.drop_next = True
        calls = [flusher.submit(("ECHO", str(number)), as_it_is) for number in range(5)]
        assert [await call for call in calls] == [b"%d" % number for number in range(5)]

        assert peer.connections == 2
        again = [[command[-1] for command in frame] for frame in peer.frames]
        numbers = [b"%d" % number for number in range(5)]
        assert again == [numbers, [b"return 1", b"replication"], numbers]


@pytest.mark.parametrize(
    "code", sorted(code for code, verdict in VERDICTS.items() if verdict is not Verdict.REDIRECT)
)
async def test_a_refusal_for_now_is_asked_again(tmp_path: Path, code: str) -> None:
    """Each code of the table: the caller sees the answer that comes in the end."""
    refused = 0

    def answer(command: list[bytes]) -> bytes:
        nonlocal refused
        if command[0] == b"ECHO" and refused < 2:
            refused += 1
            return f"-{code} not now\r\n".encode()
        return echo(command)

    async with flusher_to(Peer(answer), tmp_path) as flusher:
        assert await flusher.submit(("ECHO", "x"), as_it_is) == b"x"
        assert refused == 2


@pytest.mark.parametrize("message", ["MOVED 3999 127.0.0.1:6381", "ASK 3999 127.0.0.1:6381"])
async def test_a_node_of_a_cluster_is_not_taken_for_a_store(tmp_path: Path, message: str) -> None:
    """The error says how a Cluster is named."""

    def answer(command: list[bytes]) -> bytes:
        return f"-{message}\r\n".encode() if command[0] == b"GET" else echo(command)

    async with flusher_to(Peer(answer), tmp_path) as flusher:
        with pytest.raises(StoreUnsafeError, match=r"write redis\+cluster://"):
            await flusher.submit(("GET", "x"), as_it_is)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'", StoreFullError),
        ("NOAUTH Authentication required.", StoreUnsafeError),
        ("WRONGPASS invalid username-password pair", StoreUnsafeError),
        ("NOPERM this user has no permissions", StoreUnsafeError),
        ("WRONGTYPE Operation against a key", StoreScriptError),
        ("ERR user_script:3: oops", StoreScriptError),
    ],
)
async def test_a_final_refusal_is_told(tmp_path: Path, message: str, kind: type[Exception]) -> None:
    """As a typed error, to the one call that it answers."""

    def answer(command: list[bytes]) -> bytes:
        return f"-{message}\r\n".encode() if command[-1] == b"bad" else echo(command)

    async with flusher_to(Peer(answer), tmp_path) as flusher:
        bad = flusher.submit(("ECHO", "bad"), as_it_is)
        good = flusher.submit(("ECHO", "good"), as_it_is)
        with pytest.raises(kind):
            await bad
        assert await good == b"good"
    assert verdict_of(message) is Verdict.FAIL
    assert type(error_of(message)) is kind


async def test_a_call_fails_when_the_store_is_closed(tmp_path: Path) -> None:
    """Not answered and never to be: the caller is told."""
    peer = Peer(lambda command: b"" if command[0] == b"ECHO" else echo(command))
    async with flusher_to(peer, tmp_path) as flusher:
        before = flusher.submit(("ECHO", "x"), as_it_is)
    after = flusher.submit(("ECHO", "x"), as_it_is)
    for unanswered in (before, after):
        with pytest.raises(StoreUnavailableError):
            await unanswered


async def test_a_decoders_error_is_its_callers(tmp_path: Path) -> None:
    async with flusher_to(Peer(echo), tmp_path) as flusher:
        with pytest.raises(ValueError, match="invalid literal"):
            await flusher.submit(("ECHO", "x"), int)
        assert await flusher.submit(("ECHO", "5"), int) == 5


async def test_forgotten_scripts_are_loaded_again(store_url: str, store: Stores) -> None:
    """SCRIPT FLUSH between two calls, which then keep their order."""
    run_id = await a_run(store)
    await call(store_url, "SCRIPT", "FLUSH")
    token = await a_grant(store, run_id)
    assert token.epoch == 1
    await call(store_url, "SCRIPT", "FLUSH")
    starts = [a_start() for _ in range(20)]
    outcomes = [store.runs.start(start) for start in starts]
    assert [await outcome for outcome in outcomes] == [
        Started(start.run_id, repeat=False) for start in starts
    ]


async def test_a_killed_connection_is_made_again(store_url: str, store: Stores) -> None:
    """CLIENT KILL under load: everything is answered, once."""
    starts = [a_start() for _ in range(200)]
    outcomes = [store.runs.start(start) for start in starts]
    await call(store_url, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for start, outcome in zip(starts, outcomes, strict=True):
        assert (await outcome) in {Started(start.run_id, repeat=False), Started(start.run_id, repeat=True)}
        record = await store.runs.get(namespace=NAMESPACE, run_id=start.run_id)
        assert record is not None
        assert (record.mail, record.state) == (1, RunState.RUNNING)


async def test_a_full_store_takes_nothing_new_and_lets_runs_go_on(store_url: str, store: Stores) -> None:
    """Start and deliver are refused; what was accepted is granted and can end."""
    run_id = await a_run(store)
    await call(store_url, "CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(StoreFullError):
            await store.runs.start(a_start())
        with pytest.raises(StoreFullError):
            await store.runs.deliver(namespace=NAMESPACE, run_id=run_id, event=b"e", dedupe_id="d")
        token = await a_grant(store, run_id)
        assert token.epoch == 1
    finally:
        await call(store_url, "CONFIG", "SET", "maxmemory", "0")


async def test_an_unreachable_store_is_said_to_be(tmp_path: Path) -> None:
    settings = StoreSettings(url=f"unix://{tmp_path}/none.sock", connect_seconds=0.1)
    with pytest.raises(StoreUnavailableError, match=r"none\.sock cannot be reached"):
        async with open_store(settings):
            pass


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://store", Address(host="store")),
        ("redis://:p%40ss@store:7000/3", Address(host="store", port=7000, password="p@ss", database=3)),
        ("rediss://me:secret@store", Address(host="store", tls=True, username="me", password="secret")),
        ("unix:///tmp/a.sock?db=2", Address(path="/tmp/a.sock", database=2)),
    ],
)
def test_a_url_says_where_the_store_is(url: str, address: Address) -> None:
    assert Address.parse(url) == address


@pytest.mark.parametrize("url", ["store:6379", "http://store", ""])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://"):
        Address.parse(url)


async def test_every_partition_has_its_keys_in_one_slot(store: Stores) -> None:
    """The hash tag is the same in all keys of a run."""
    start = a_start()
    await store.runs.start(start)
    tag = f"{{aiki:{start.run_id.partition('-')[0]}}}"
    found: list[bytes] = []
    for node in store.flusher.primaries:
        found += await node.submit(("KEYS", "*"), as_it_is)
    names = [key.decode() for key in found if not key.startswith(b"aiki:")]
    assert len(names) == 5
    assert all(name.startswith(tag) for name in names)
    assert store.partitions == PARTITIONS
