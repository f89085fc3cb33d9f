"""How the demo shows its progress."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from examples.audit.demo import Progress


def draw(progress: Progress) -> Group:
    """The state of the run: counts, a bar, and who does what."""
    table = Table(box=None, padding=(0, 2))
    for heading in ("worker", "done", "running"):
        table.add_column(heading)
    workers = sorted({*progress.done_by, *progress.running.values()})
    for worker in workers:
        mine = [
            progress.names.get(address, address)
            for address, owner in progress.running.items()
            if owner == worker
        ]
        table.add_row(worker, str(progress.done_by[worker]), ", ".join(mine))
    seconds = time.monotonic() - progress.began
    headline = (
        f"done {progress.done} of {progress.total}   running {len(progress.running)}   "
        f"run again {progress.repeated}   {seconds:.1f} s"
    )
    bar = ProgressBar(total=max(progress.total, 1), completed=progress.done, width=60)
    return Group(Text(headline, style="bold"), bar, table, Text(progress.notice, style="yellow"))
