"""A task that somebody else completes, by a token."""

from pathlib import Path
from tempfile import TemporaryDirectory

from aiki_client import Client
from aiki_sdk import complete_later, current_task, task, workflow
from examples.language.waiting import until

EXPECTED = "signed by ada"


@task(deferred=True, timeout="3d")
def signature(letter_box: str) -> str:
    """The notary finds the token in her letter box, and signs when she likes."""
    Path(letter_box).write_text(current_task().token)
    complete_later()


@workflow
async def late_completion(letter_box: str) -> str:
    """Waits for the signature."""
    return await signature(letter_box)


async def scenario(client: Client) -> str:
    """Ada signs."""
    with TemporaryDirectory() as folder:
        letter_box = Path(folder) / "letters"
        run = await client.start(late_completion, str(letter_box))

        async def token() -> str:
            return letter_box.read_text() if letter_box.exists() else ""

        await client.complete_task(await until(token, bool), "signed by ada", signature)
        return await run.result("50s")
