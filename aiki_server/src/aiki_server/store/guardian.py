"""Run a Valkey server for as long as standard input stays open; a program of its own, standard library only.

Our parent holds the other end of standard input. However it ends, the system closes that, and we stop the
server: SIGTERM, which saves what is to be saved, then SIGKILL. When the server ends by itself, so do we, with
its status. On Linux the system also kills the server if we are killed.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys

STOP_SECONDS = 10
PR_SET_PDEATHSIG = 1


def main(binary: str, config: str) -> int:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ended, ending = os.pipe()
    os.set_blocking(ending, False)
    signal.set_wakeup_fd(ending)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    # The lock's descriptor stays with us and the server: the folder is taken until both are gone.
    server = subprocess.Popen([binary, config], stdin=subprocess.DEVNULL, close_fds=False, preexec_fn=_die_with_us)
    while server.poll() is None:
        readable, _, _ = select.select([0, ended], [], [])
        if ended in readable:
            os.read(ended, 4096)
        if 0 in readable and not os.read(0, 4096):
            return _stop(server)
    return server.returncode


def _stop(server: "subprocess.Popen[bytes]") -> int:
    server.terminate()
    try:
        return server.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


def _die_with_us() -> None:
    """In the child, before the server. This process has one thread, so that this is safe."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
