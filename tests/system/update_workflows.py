"""A workflow that closes in every way while updates are under way."""

from aiki_sdk import Failure, Retry, main, publish, signal, sleep, task, update, updates_answered, workflow

end = signal("end", str)
let = signal("let", str)


class Unlucky(Failure):
    """As it says."""


@task
async def noted(text: str) -> str:
    """A step of an update."""
    return text


@workflow
class Desk:
    """Answers updates when it is let, and ends as it is told."""

    def __init__(self) -> None:
        self.asked = 0

    @main
    async def run(self, run: int) -> str:
        """Until it is told."""
        how = await end.wait()
        if how == "fail":
            raise Unlucky("as told")
        if how == "wait":
            await updates_answered()
        if how in {"continue", "wait"} and run < 3:
            return Desk.run.continue_as_new(run + 1)
        return f"run {run}"

    @update
    async def ask(self, text: str) -> str:
        """Says so, and waits until it is let."""
        self.asked += 1
        publish("asked", self.asked)
        await noted(text)
        return f"{text}: {await let.wait()}"


@workflow(timeout="1s")
class ShortDesk:
    """Has no time."""

    @main
    async def run(self) -> None:
        """Too long."""
        await sleep("1d")

    @update
    async def ask(self) -> None:
        """Longer than the run."""
        publish("asked", 1)
        await sleep("2d")


@workflow(retry=Retry.fixed("1ms", attempts=2))
class RetriedDesk:
    """Fails first, when it has been asked."""

    @main
    async def run(self) -> str:
        """The second time it goes well."""
        if await end.wait() == "fail":
            raise Unlucky("first")
        return "well"

    @update
    async def ask(self) -> str:
        """At once."""
        return "answered"
