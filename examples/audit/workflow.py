"""The audit as a workflow: one run, one task for each distribution."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from aiki_sdk import task, workflow
from examples.audit import serial

# A file to which each attempt adds a line: what the demo counts to learn what ran twice.
ATTEMPTS_FILE = "AIKI_AUDIT_ATTEMPTS"


@dataclass(frozen=True)
class Verified:
    """One distribution: hashed files, their size, and what is wrong with them."""

    files: int
    bytes: int
    mismatches: list[str]


@dataclass(frozen=True)
class Report:
    """A whole environment."""

    distributions: int
    files: int
    bytes: int
    mismatches: list[str]


@task
def list_records(site: str) -> list[str]:
    """The RECORD file of each installed distribution."""
    return sorted(str(record) for record in Path(site).glob("*.dist-info/RECORD"))


@task(timeout="2m")
def verify(record: str) -> Verified:
    """Read every file a RECORD lists and compare its hash and size."""
    _count_attempt(record)
    return Verified(*serial.verify(Path(record)))


@workflow(version="1")
async def audit(site: str) -> Report:
    """Verify every distribution below *site*."""
    records = await list_records(site)
    results = await asyncio.gather(*(verify(record) for record in records))
    return Report(
        distributions=len(results),
        files=sum(result.files for result in results),
        bytes=sum(result.bytes for result in results),
        mismatches=sorted(line for result in results for line in result.mismatches),
    )


def _count_attempt(record: str) -> None:
    attempts = os.environ.get(ATTEMPTS_FILE)
    if attempts is None:
        return
    # One write of one short line in append mode: whole, whoever else writes.
    with Path(attempts).open("ab", buffering=0) as file:
        file.write(f"{record}\n".encode())
