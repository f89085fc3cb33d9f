"""Keep quiet about what the one poller of grpc.aio says of loops that share it.

A process has one poller thread for all its event loops, and wakes every one of them for each completion. The
loop that comes second finds nothing to read (BlockingIOError), and the completion of a call that was
cancelled may come after the loop it was made on has ended ("Event loop is closed"), or when the poller has closed
its socket in another thread (EBADF). None of them loses anything: a completion is handed over by whichever loop took it, and nobody waits on a loop that is closed. But
asyncio logs all of them with a traceback. Invariant: nothing else that asyncio logs is dropped.
"""

import errno
import logging

CALLBACK = "PollerCompletionQueue._handle_events"


def is_noise(record: logging.LogRecord) -> bool:
    """Whether *record* tells one of the three."""
    error = record.exc_info[1] if record.exc_info else None
    is_harmless = (
        isinstance(error, BlockingIOError)
        or (isinstance(error, OSError) and error.errno == errno.EBADF)
        or str(error) == "Event loop is closed"
    )
    return is_harmless and CALLBACK in record.getMessage()


def be_quiet() -> None:
    """From now on, in this process; to be called as often as one likes."""
    logging.getLogger("asyncio").addFilter(_is_wanted)


def _is_wanted(record: logging.LogRecord) -> bool:
    return not is_noise(record)
