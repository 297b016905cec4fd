"""Events as lines: plain ones for logs and pipes, with a live view of what runs on a terminal."""

from __future__ import annotations

import os
import shlex
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import click

from mlmake.cli.listing import counts, print_verdicts
from mlmake.cli.place import Place, mute
from mlmake.model.events import (
    Connected,
    Connecting,
    Ended,
    EnvironmentBuilding,
    EnvironmentBuilt,
    Event,
    LockWaiting,
    Noticed,
    Planned,
    Pushing,
    StepBlocked,
    StepFetching,
    StepFinished,
    StepRetried,
    StepSpared,
    StepStarted,
    Stopping,
)
from mlmake.model.project import Project
from mlmake.model.reason import Reason, State
from mlmake.model.run import Outcome, seconds_in_words, size_in_words

_TAIL = 15
"""Lines of a failed step's log that are shown."""
_BUILDS = "environment "
"""How the live view tells the building of an environment from a step; no step's id holds a blank."""


class Console:
    """A sink for events. Use it as a context, so that a live view leaves the terminal as it was."""

    def __init__(
        self,
        project: Project,
        place: Place,
        *,
        quiet: bool = False,
        verbose: bool = False,
        color: bool | None = None,
        is_attached: bool = False,
    ) -> None:
        """`is_attached` is for a build that starts no step, and takes up those that run."""
        self._is_attached = is_attached
        self._project = project
        self._place = place
        self._quiet = quiet
        self._verbose = verbose
        self._color = color
        self._live: Any = None
        self._connecting_to: set[str] = set()
        self._is_terminal = sys.stdout.isatty() and not quiet and os.environ.get("TERM") != "dumb"

    def __enter__(self) -> Console:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_live()

    def __call__(self, event: Event) -> None:
        _TOLD_BY[type(event)](self, event)

    # Events.

    def line(self, text: str) -> None:
        """Print a line between those of events."""
        self._say(text)

    def _planned(self, event: Planned) -> None:
        if event.dry_run:
            self._dry_run(event)
            return
        may_run = sum(verdict.state.may_run for verdict in event.verdicts.values())
        if may_run and self._is_terminal:
            from mlmake.cli.live import Live

            self._live = Live(may_run, event.expected)

    def _dry_run(self, event: Planned) -> None:
        shown = {
            step: verdict
            for step, verdict in event.verdicts.items()
            if verdict.state is not State.FRESH or self._verbose
        }
        if not self._quiet:
            steps = [self._project.steps[step] for step in shown]
            print_verdicts(self._project, steps, shown, expand=self._verbose, first_only=not self._verbose)
        self._say(f"dry run: {counts(event.verdicts, event.others)}; nothing was run")

    def _connecting(self, event: Connecting) -> None:
        """Who types a passphrase must see what is asked."""
        self._connecting_to.add(event.target)
        if self._live:
            self._live.print(click.style(f"connecting to {event.target}", dim=True))
            self._live.pause()

    def _connected(self, event: Connected) -> None:
        self._connecting_to.discard(event.target)
        if self._live and not self._connecting_to:
            self._live.resume()

    def _building(self, event: EnvironmentBuilding) -> None:
        if self._live:
            self._live.started(f"{_BUILDS}{event.shown}", f"{event.shown}: building")
        else:
            self._say(f"{event.shown}: building")

    def _built(self, event: EnvironmentBuilt) -> None:
        if self._live:
            self._live.ended(f"{_BUILDS}{event.shown}", counts=False)
        if not event.problem:
            self._say(f"{event.shown}: built in {seconds_in_words(event.seconds)}")

    def _fetching(self, event: StepFetching) -> None:
        if self._live:
            self._live.fetching(event.step, self._name(event.step), event.moved, event.total)
        elif not event.moved:
            self._say(f"{self._name(event.step)} fetches {size_in_words(event.total)}")

    def _started(self, event: StepStarted) -> None:
        name = self._name(event.step)
        if self._live:
            self._live.started(event.step, name)
        if self._is_attached:
            self._say(f"{name} is on {event.target}")
        elif self._verbose:
            self._say(f"{name} started: {self._joined(event.reasons)}")
            self._say(f"  {_command_line(event.argv)}")
        elif not self._live:
            self._say(f"{name} started: {event.reasons[0]}" if event.reasons else f"{name} started")

    def _finished(self, event: StepFinished) -> None:
        name = self._name(event.step)
        if self._live:
            self._live.ended(event.step)
        took = seconds_in_words(event.seconds)
        if event.outcome is Outcome.DONE:
            self._say(f"{name} {click.style('done', fg='green')} in {took}")
        elif event.outcome is Outcome.RESTORED:
            self._say(f"{name} {click.style('restored', fg='blue')}")
        elif event.outcome is Outcome.CANCELLED:
            self._print(f"{name} {event.message} after {took}", "yellow")
        else:
            self._print(f"{name} failed: {event.message} after {took}", "red")
            self._show_log(event.log)
            self._print(f"  log: {self._place.shown(event.log)}")
            self._print(f"  mend it and run mlmake again: what is done stays done; `mlmake why {shlex.quote(name)}`")

    def _spared(self, event: StepSpared) -> None:
        if self._live:
            self._live.ended(event.step)
        if self._verbose:
            self._say(f"{self._name(event.step)} fresh: what it reads came out the same")

    def _retried(self, event: StepRetried) -> None:
        again = f"attempt {event.attempt + 1} in {event.delay:g} s"
        self._print(f"{self._name(event.step)}: {event.message}; {again}", "yellow")
        if self._live:
            self._live.ended(event.step, counts=False)

    def _blocked(self, event: StepBlocked) -> None:
        reasons = tuple(replace(reason, subject=self._shown_subject(reason)) for reason in event.reasons)
        self._print(f"{self._name(event.step)} blocked: {self._joined(reasons)}", "yellow")
        if self._live:
            self._live.ended(event.step)

    def _lock_waiting(self, event: LockWaiting) -> None:
        self._print(f"waiting for another build of this project: {event.holder}", "yellow")

    def _noticed(self, event: Noticed) -> None:
        self._print(event.text, "yellow")

    def _pushing(self, event: Pushing) -> None:
        if self._live:
            self._live.pushing(event.left)

    def _stopping(self, event: Stopping) -> None:
        ending = f"ending {event.running} running; once more ends them at once"
        self._print(f"{event.signal}: {'they go on where they are' if event.is_left else ending}", "yellow")

    def _ended(self, event: Ended) -> None:
        self._close_live()
        summary = event.summary
        for edited in summary.edited:
            self._print(f"{edited} was edited while it was read: the step is stale and runs again next time", "yellow")
        worst = "red" if summary.failed else "yellow" if summary.blocked or summary.cancelled else "green"
        self._say(click.style(str(summary), fg=worst, bold=True))

    # Lines.

    def _show_log(self, log: str) -> None:
        try:
            with open(os.path.join(self._project.root, log), encoding="utf-8", errors="replace") as file:
                lines = deque(file, maxlen=_TAIL)
        except OSError:
            return
        for line in lines:
            self._print(f"  | {line.rstrip()}")

    def _name(self, step: str) -> str:
        return self._project.shown(step)

    def _shown_subject(self, reason: Reason) -> str:
        return self._name(reason.subject) if reason.subject in self._project.steps else reason.subject

    def _joined(self, reasons: tuple[Reason, ...]) -> str:
        return "; ".join(map(str, reasons))

    def _say(self, line: str) -> None:
        if not self._quiet:
            self._print(line)

    def _print(self, line: str, fg: str | None = None) -> None:
        text = click.style(line, fg=fg) if fg else line
        if self._live:
            self._live.print(text)
            return
        try:
            click.echo(text, color=self._color)
        except BrokenPipeError:  # the build goes on without its listener
            mute()

    def _close_live(self) -> None:
        if self._live:
            self._live.close()
            self._live = None


def _command_line(argv: tuple[str, ...]) -> str:
    """A command line to read and to paste: a shell's script as it was written."""
    return argv[2] if argv[:2] == ("/bin/sh", "-c") else shlex.join(argv)


_TOLD_BY: dict[type, Callable[[Console, Any], None]] = {
    Planned: Console._planned,
    Connecting: Console._connecting,
    Connected: Console._connected,
    EnvironmentBuilding: Console._building,
    EnvironmentBuilt: Console._built,
    StepFetching: Console._fetching,
    StepStarted: Console._started,
    StepFinished: Console._finished,
    StepSpared: Console._spared,
    StepRetried: Console._retried,
    StepBlocked: Console._blocked,
    LockWaiting: Console._lock_waiting,
    Noticed: Console._noticed,
    Pushing: Console._pushing,
    Stopping: Console._stopping,
    Ended: Console._ended,
}
