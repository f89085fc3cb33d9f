"""The demo: audit on two worker processes, kill one in the middle, prove the result.

The proof is the equality with `serial.py`, which knows nothing of Aiki. What the kill cost is
counted outside Aiki as well: each attempt adds a line to a file.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live

from aiki_sdk import Client, Run
from aiki_workflow import events
from examples.audit import serial
from examples.audit.display import draw
from examples.audit.workflow import ATTEMPTS_FILE, Report, audit
from examples.local_cluster import LocalCluster

WORKFLOW_MODULE = "examples.audit.workflow"
SLOTS = 2
SCRATCH_FILES_MAX = 150
KILL_AFTER_PART = 0.3
REDRAW_SECONDS = 0.1
FIRST, SECOND, THIRD = "worker-1", "worker-2", "worker-3"


@dataclass
class Progress:
    """What the demo knows of its run, for the display."""

    attempts_file: Path
    total: int = 0
    done_by: Counter[str] = field(default_factory=Counter)
    names: dict[str, str] = field(default_factory=dict)
    running: dict[str, str] = field(default_factory=dict)
    notice: str = ""
    began: float = field(default_factory=time.monotonic)

    @property
    def done(self) -> int:
        """Distributions whose outcome is recorded."""
        return sum(self.done_by.values())

    def attempts(self) -> Counter[str]:
        """Attempts made so far, by RECORD file."""
        if not self.attempts_file.exists():
            return Counter()
        return Counter(self.attempts_file.read_text(encoding="utf-8").split("\n")[:-1])

    @property
    def repeated(self) -> int:
        """Attempts that ran again."""
        counts = self.attempts()
        return counts.total() - len(counts)

    def saw(self, event: events.Event) -> None:
        """Count one event of the history."""
        match event:
            case events.TaskScheduled(task="verify", address=address, input=arguments):
                self.total += 1
                self.names[address] = Path(json.loads(arguments.data)["args"][0]).parent.stem
            case events.TaskCompleted(address=address, worker=worker) if address.startswith("verify/"):
                self.done_by[worker] += 1


async def run_demo(site: Path, folder: Path, console: Console) -> bool:
    """Audit *site* durably, a worker killed midway; whether the result is that of the plain program."""
    progress = Progress(folder / "attempts")
    with LocalCluster(folder, lease_ttl="2s") as cluster:
        cluster.start_coordinator()
        for name in (FIRST, SECOND):
            _start_worker(cluster, name, progress)
        async with Client.connect(cluster.address) as client:
            run = await client.start(audit, str(site))
            with Live(draw(progress), console=console, refresh_per_second=10) as live:
                report = await _watch(run, cluster, progress, live)
    expected = serial.audit(site)
    _print_report(console, report, progress)
    equal = asdict(report) == expected
    verdict = "[green]equal[/green]" if equal else f"[red]DIFFERENT[/red]: {expected}"
    console.print(f"The same audit as 37 plain lines without Aiki: {verdict}.")
    return equal


async def _watch(run: Run[Report], cluster: LocalCluster, progress: Progress, live: Live) -> Report:
    async with asyncio.TaskGroup() as group:
        redraw = group.create_task(_redraw(run, progress, live))
        async for event in run.history(follow=True):
            progress.saw(event)
            if not progress.notice and progress.total and progress.done >= KILL_AFTER_PART * progress.total:
                _kill_one(cluster, progress)
        redraw.cancel()
    progress.running = {}
    live.update(draw(progress))
    return await run.result()


def _kill_one(cluster: LocalCluster, progress: Progress) -> None:
    """Kill a worker that has work: a busy one, or the one that finished the most so far."""
    busy = [worker for worker in progress.running.values() if worker in cluster.processes]
    victim = busy[0] if busy else progress.done_by.most_common(1)[0][0]
    cluster.kill(victim)
    _start_worker(cluster, THIRD, progress)
    progress.notice = (
        f"{victim} killed with SIGKILL at {progress.done} of {progress.total}; {THIRD} started in its place"
    )


async def _redraw(run: Run[Report], progress: Progress, live: Live) -> None:
    while True:
        view = await run.describe()
        progress.running = {item.address: item.worker for item in view.tasks if item.worker}
        live.update(draw(progress))
        await asyncio.sleep(REDRAW_SECONDS)


def _start_worker(cluster: LocalCluster, name: str, progress: Progress) -> None:
    environment = {ATTEMPTS_FILE: str(progress.attempts_file)}
    cluster.start_worker(name, WORKFLOW_MODULE, slots=SLOTS, environment=environment)


def _print_report(console: Console, report: Report, progress: Progress) -> None:
    console.print(
        f"\n[bold]{report.distributions}[/bold] distributions, [bold]{report.files:,}[/bold] files, "
        f"[bold]{report.bytes / 1e6:,.0f}[/bold] MB hashed; mismatches: [bold]{len(report.mismatches)}[/bold]"
    )
    for line in report.mismatches:
        console.print(f"  [yellow]{line}[/yellow]")
    counts = progress.attempts()
    again = ", ".join(Path(record).parent.name for record, attempts in counts.items() if attempts > 1)
    console.print(
        f"What the kill cost: {progress.repeated} of {counts.total()} attempts ran again{': ' if again else '.'}{again}"
    )


@contextmanager
def tampered_site(site: Path) -> Iterator[Path]:
    """A scratch environment with some of *site*'s distributions, one byte of one file changed."""
    with tempfile.TemporaryDirectory(prefix="aiki-audit-site-") as folder:
        scratch = Path(folder) / "lib" / "site-packages"
        for record in sorted(site.glob("*.dist-info/RECORD")):
            copy_distribution(record, scratch)
        victim = max(scratch.glob("**/*.py"), key=lambda path: (path.stat().st_size, str(path)))
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
        yield scratch


def copy_distribution(record: Path, scratch: Path) -> None:
    """Copy the files that *record* lists inside its site, unless they are many."""
    site = record.parent.parent
    names = [line.rsplit(",", 2)[0] for line in record.read_text(encoding="utf-8").splitlines()]
    inside = [name for name in names if not name.startswith(("..", '"'))]
    if len(inside) != len(names) or len(inside) > SCRATCH_FILES_MAX:
        return
    for name in inside:
        if (site / name).exists():
            target = scratch / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((site / name).read_bytes())
