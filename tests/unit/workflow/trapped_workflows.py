"""Workflows that call what would differ on replay, each in its own way."""

import logging
import multiprocessing
import random
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from random import randint
from time import perf_counter

from aiki_workflow import workflow

CALLS: dict[str, Callable[[], object]] = {
    "time.time": lambda: (time.time(),),
    "time.perf_counter": lambda: (perf_counter(),),
    "random.random": lambda: (random.random(),),
    "random.randint": lambda: randint(1, 6),
    "uuid.uuid4": lambda: (uuid.uuid4(),),
    "time.sleep": lambda: time.sleep(0),
    "open": lambda: Path(__file__).read_text(),
    "subprocess.Popen": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "socket.getaddrinfo": lambda: socket.create_connection(("localhost", 1)),
    "os.remove": lambda: Path("nowhere").unlink(),
    "os.scandir": lambda: list(Path().rglob("*.py")),
    "os.fork": lambda: multiprocessing.get_context("fork").Process(target=print).start(),
    "_thread.start_new_thread": lambda: threading.Thread(target=print).start(),
}
HARMLESS: dict[str, Callable[[], object]] = {
    "a log record": lambda: logging.getLogger("trapped").warning("it has a time of its own"),
    "a generator of one's own": lambda: random.Random(1).random(),
    "a name of time": lambda: time.strftime("%Y", time.struct_time((2026, 1, 1, 0, 0, 0, 0, 1, 0))),
}


@workflow
async def calls(name: str) -> str:
    """Does what is asked for."""
    (CALLS | HARMLESS)[name]()
    return "done"
