"""What a waiting run is waiting for, in one line."""

from datetime import datetime

from aiki_client.views import RunView


def waits_for(run: RunView) -> str:
    """What comes first of what is due, then open tasks and children; else a signal or an update."""
    due = sorted(
        [(timer.due, f"timer {timer.address}", timer.since) for timer in run.timers], key=lambda item: item[0]
    )
    others = [
        *(f"task {task.address} ({task.state})" for task in run.tasks if task.is_open),
        *(f"child {child.workflow_id}" for child in run.children if child.state in {"open", "cancelling"}),
    ]
    if due:
        until, what, since = due[0]
        others = others + [name for _, name, _ in due[1:]]
        first = f"{what}, since {_local(since)}, until {_local(until)}"
    elif others:
        first = others.pop(0)
    else:
        first = "a signal or an update"
        if run.since is not None:
            first += f", since {_local(run.since)}"
    return f"{first}, and {len(others)} more" if others else first


def _local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"
