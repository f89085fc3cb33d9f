"""What `helm test` runs: one workflow with a task, a timer and a signal, on a worker of this process's own.

It works in a namespace of its own, so that no other worker takes part. Exit status 0: everything works.
"""

import asyncio
import os
import subprocess
import sys
import uuid
from pathlib import Path

from aiki_sdk import Client, signal, sleep, task, workflow

proceed = signal("proceed", str)


@task
def double(number: int) -> int:
    return number * 2


@workflow(version="1")
async def helm_test(number: int) -> str:
    doubled = await double(number)
    await sleep("200ms")
    word = await proceed.wait()
    return f"{word} {doubled}"


async def main() -> int:
    seconds = float(os.environ.get("AIKI_HELM_TEST_SECONDS", "60"))
    async with asyncio.timeout(seconds), Client.connect(os.environ["AIKI_ADDRESS"]) as client:
        run = await client.start(helm_test.with_(id=f"helm-test-{uuid.uuid4()}"), 21)
        print(f"started {run.workflow_id}", flush=True)
        await run.signal(proceed, "answer")
        result = await run.result()
        print(f"result: {result}", flush=True)
    return 0 if result == "answer 42" else 1


if __name__ == "__main__":
    folder = str(Path(__file__).parent)
    worker = subprocess.Popen(
        [sys.executable, "-m", "aiki_worker", "aiki_helm_test"],
        env={**os.environ, "PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    try:
        status = asyncio.run(main())
    finally:
        worker.terminate()
        worker.wait(timeout=15)
    sys.exit(status)
