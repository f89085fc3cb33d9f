"""Loops that share grpc's poller end quietly, and nothing else is kept quiet."""

import asyncio
import errno
import logging
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import grpc
import grpc.aio
import pytest

from aiki_client import poller

CALL = "/test/Hang"
CALLBACK = f"Exception in callback {poller.CALLBACK}(<_UnixSelectorEventLoop>)()"


def _record(message: str, error: BaseException | None) -> logging.LogRecord:
    told = None if error is None else (type(error), error, None)
    return logging.LogRecord("asyncio", logging.ERROR, __file__, 1, message, None, told)


@pytest.mark.parametrize(
    ("message", "error", "is_noise"),
    [
        (CALLBACK, BlockingIOError(), True),
        (CALLBACK, RuntimeError("Event loop is closed"), True),
        (CALLBACK, OSError(errno.EBADF, "Bad file descriptor"), True),
        (CALLBACK, OSError(errno.ENOMEM, "Out of memory"), False),
        (CALLBACK, RuntimeError("a bug"), False),
        (CALLBACK, None, False),
        ("Exception in callback shop.charge()", RuntimeError("Event loop is closed"), False),
        ("Exception in callback shop.charge()", BlockingIOError(), False),
    ],
)
def test_only_the_pollers_noise_is_dropped(message: str, error: BaseException | None, is_noise: bool) -> None:
    """Both the callback and the error must be those."""
    assert poller.is_noise(_record(message, error)) is is_noise


@pytest.fixture
def address() -> Generator[str, None, None]:
    """A server that never answers."""
    over = threading.Event()

    def hang(_request: bytes, _context: grpc.ServicerContext) -> bytes:
        over.wait()
        return b""

    handlers = grpc.method_handlers_generic_handler(
        "test", {"Hang": grpc.unary_unary_rpc_method_handler(hang)}
    )
    server = grpc.server(ThreadPoolExecutor(max_workers=1), handlers=[handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    over.set()
    server.stop(None).wait()


async def _cancel_calls(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        calls = [asyncio.ensure_future(_call(channel)) for _ in range(20)]
        await asyncio.wait(calls, timeout=0.01)
        for call in calls:
            call.cancel()


async def _call(channel: grpc.aio.Channel) -> object:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(CALL)
    return await call(b"")


def test_loops_that_end_with_cancelled_calls(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Several threads, several loops each, calls cancelled just before each ends: not a word."""
    poller.be_quiet()

    def live() -> None:
        for _ in range(5):
            asyncio.run(_cancel_calls(address))

    threads = [threading.Thread(target=live) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []
