"""Run a Valkey server for as long as standard input stays open; a program of its own, standard library only.

Our parent holds the other end of standard input. However it ends, the system closes that, and we stop the
server: SIGTERM, which saves what is to be saved, then SIGKILL. A server that was killed is started again; when
it ends by itself, so do we, with its status. On Linux the system also kills the server if we are killed.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

STOP_SECONDS = 10
RESTARTS_MAX = 20
RESTARTS_SECONDS = 10
PR_SET_PDEATHSIG = 1


def main(binary: str, config: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended, ending = os.pipe()
    os.set_blocking(ending, False)
    signal.set_wakeup_fd(ending)
    signal.signal(signal.SIGCHLD, _on_child)
    starts: list[float] = []
    while True:
        starts = [at for at in starts if time.monotonic() - at < RESTARTS_SECONDS] + [time.monotonic()]
        status = _serve(binary, config, ended)
        if status >= 0 or len(starts) > RESTARTS_MAX:
            return abs(status)


def _serve(binary: str, config: str, ended: int) -> int:
    """Run one server. Its status: below 0 when it was killed and is to be started again."""
    # The lock's descriptor stays with us and the server: the folder is taken until both are gone.
    server = subprocess.Popen(  # noqa: S603  our own server
        [binary, config],
        stdin=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=_die_with_us,  # noqa: PLW1509  this process has one thread
    )
    while server.poll() is None:
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            os.read(ended, 4096)
        if 0 in readable and not os.read(0, 4096):
            _stop(server)
            return 0
    return server.returncode


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _on_child(_number: int, _frame: FrameType | None) -> None:
    """The wake-up descriptor tells; a handler must be there for it to."""


def _die_with_us() -> None:
    """In the child, before the server."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
