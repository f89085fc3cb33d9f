"""`python -m aiki_worker MODULE…` is `aiki worker MODULE…`."""

from aiki_worker.command import worker

if __name__ == "__main__":
    worker()
