"""What a history holds of commands, and whether the code still agrees with it: pure.

A recorded command is settled once it was issued again, or once its recorded result was passed. A
command that the history does not hold may take effect only when everything recorded up to that
point is settled: so calls can be reordered, appended, and removed once finished, but not inserted
before, changed or replaced.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aiki_workflow import events
from aiki_workflow.errors import DivergedError

_HARMLESS = (
    *(events.TaskCancelled, events.TimerCancelled, events.ChildCancelled),
    *(events.StatePublished, events.PatchMarked, events.TimerMoved),
)
"""What starts nothing: code that does not issue it again does not contradict."""

CommandKey = tuple[type[events.Command], str]


def key_of(command: events.Command) -> CommandKey:
    """What names a command: its kind and its address; all ways to end are one name."""
    match command:
        case (
            events.RunCompleted()
            | events.RunFailed()
            | events.RunCancelled()
            | events.RunTimedOut()
            | events.RunContinued()
        ):
            return (events.RunCompleted, "")
        case events.UpdateCompleted():
            return (events.UpdateCompleted, command.update_id)
        case _:
            return (type(command), command.address)


def describe(command: events.Command) -> str:
    """For people."""
    match command:
        case events.TaskScheduled():
            return (
                f"task {command.address!r} with arguments {command.input.data[:200].decode(errors='replace')}"
            )
        case events.TimerStarted():
            return f"timer {command.address!r}"
        case events.ChildScheduled():
            return f"child {command.address!r} with workflow id {command.workflow_id!r}"
        case events.SignalSent():
            return f"signal {command.name!r} to {command.workflow_id!r}"
        case events.StatePublished():
            return f"publication of {command.key!r}"
        case events.PatchMarked():
            return f"mark {command.address!r}"
        case events.UpdateCompleted():
            return f"answer to update {command.update_id!r}"
        case events.TimerMoved():
            return f"move of timer {command.address!r}"
        case events.TaskCancelled() | events.TimerCancelled() | events.ChildCancelled():
            return f"cancellation of {command.address!r}"
        case _:
            return "the end of the run"


@dataclass(slots=True)
class Recorded:
    """The commands of one history, matched against those the code issues."""

    _known: dict[CommandKey, events.Command] = field(default_factory=dict[CommandKey, events.Command])
    _unsettled: dict[CommandKey, events.Command] = field(default_factory=dict[CommandKey, events.Command])
    _settled: set[CommandKey] = field(default_factory=set[CommandKey])
    _new: list[tuple[events.Command, str]] = field(default_factory=list[tuple[events.Command, str]])

    def learn(self, command: events.Command) -> None:
        """The history holds *command*, somewhere."""
        self._known[key_of(command)] = command

    def reach(self, command: events.Command) -> None:
        """Replay has come to where *command* is recorded."""
        key = key_of(command)
        if key not in self._settled and not isinstance(command, _HARMLESS):
            self._unsettled[key] = command

    def issue(self, command: events.Command, line: str) -> bool:
        """The code issued *command*; whether the history holds it."""
        if self._known:
            key = key_of(command)
            self._settle(key)
            if key in self._known:
                return True
        self._new.append((command, line))
        return False

    def holds(self, kind: type[events.Command], address: str) -> bool:
        """Whether the history has this command, somewhere."""
        return self.known(kind, address) is not None

    def known(self, kind: type[events.Command], address: str) -> events.Command | None:
        """What the history has of this command, somewhere."""
        return self._known.get((kind, address))

    @property
    def is_settled(self) -> bool:
        """Whether everything in the history was issued again, or is over."""
        return len(self._settled) == len(self._known)

    def pass_result(self, kind: type[events.Command], address: str) -> None:
        """Replay has come to the recorded result of a command."""
        if self._known:
            self._settle((kind, address))

    def end_turn(self) -> None:
        """Check what the turn issued.

        Raises:
            DivergedError: it issued something new while something recorded is missing.
        """
        new, self._new = self._new, []
        if new and self._unsettled:
            command, line = new[0]
            missing = next(iter(self._unsettled.values()))
            raise DivergedError(describe(missing), describe(command), line)

    def _settle(self, key: CommandKey) -> None:
        self._unsettled.pop(key, None)
        if key in self._known:
            self._settled.add(key)
