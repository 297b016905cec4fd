"""Every deliberate error. What is not here is a bug.

MlmakeError                     message, hint (the next move), exit code
├── ConfigError          2      the file is wrong for ever: all its problems at once
├── UsageError           2      the command line or a call names what is not there
│   ├── WrongValue       2      a call is given what it cannot take; a ValueError too
│   └── UnknownName      2      a call names what is not there, as a key; a KeyError too
├── NotYetError          2      declared and legal, but this version cannot do it
├── MissingInputError    2      a selected step wants a file that nobody makes
├── StateError           2      .mlmake/state.db is of a newer version, damaged or not writable
├── StoreError           2      a datastore says no, and would again: no right, no such bucket, bad credentials
│   ├── StoreMissing     2      a file that is to be read is not there
│   ├── StoreChanged     2      a file was replaced by another version while it was wanted
│   └── StoreUnavailable 2      try again: the datastore is busy or out of reach
├── HostError            2      a host says no, and would again: unknown key, no access, no python3
│   └── HostUnavailable  2      try again: the host is down or the connection was lost
├── SoftwareError        2      the software of an environment cannot be had, and trying again would not help
│   └── SoftwareUnavailable 2   try again: what it is got from or built with is busy or out of reach
├── BuildFailed          1      at least one step failed
│   └── RunFailed        1      a run that was waited for failed, or was cancelled; with its details
├── Stale                3      `status --check` found something to do
└── Interrupted          130    Ctrl-C or a signal asked to stop
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class MlmakeError(Exception):
    """An error that a user can cause; printed as a line and a next move, never as a traceback."""

    exit_code = 2

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(hint)  # for scripts: a traceback shows it below the message


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file: where it stands (`pipelines.train.steps.fit`), what, and the nearest legal word."""

    where: str
    what: str
    nearest: str = ""

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{self.where}: {self.what}{hint}" if self.where else f"{self.what}{hint}"


class ConfigError(MlmakeError):
    """A file of the project says something it cannot say; carries every problem found."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        self.file = file
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{file}: {problem}" for problem in self.problems))


class UsageError(MlmakeError):
    """The command line, or a call, names what is not there."""


class WrongValue(UsageError, ValueError):
    """A call is given what it cannot take."""


class UnknownName(UsageError, KeyError):
    """A call names what is not there."""

    __str__ = Exception.__str__


class NotYetError(MlmakeError):
    """Declared and legal, but this version of mlmake cannot do it."""


class MissingInputError(MlmakeError):
    """A selected step wants a file that is not there and that no step makes."""


class StateError(MlmakeError):
    """The state under .mlmake/ cannot be used as it is."""


class StoreError(MlmakeError):
    """A datastore says no, and would say it again."""


class StoreMissing(StoreError):
    """A file that is to be read is not in its datastore."""


class StoreChanged(StoreError):
    """A file of a datastore is no longer the version that is wanted."""


class StoreUnavailable(StoreError):
    """A datastore is busy or out of reach: the same call may go well later."""


class HostError(MlmakeError):
    """A host of a compute target says no, and would say it again.

    `about` is what of it is wrong, as `compute check` lists it.
    """

    def __init__(self, message: str, *, hint: str = "", about: str = "reachable") -> None:
        super().__init__(message, hint=hint)
        self.about = about


class LostContent(HostError):
    """A host does not have what was left on it: somebody has removed it there. `digests` says what."""

    def __init__(self, digests: Sequence[str]) -> None:
        super().__init__(
            "the host has lost what an earlier step left there",
            hint="the next `mlmake` makes it again",
        )
        self.digests = tuple(digests)


class HostUnavailable(HostError):
    """A host is out of reach: the same call may go well later."""


class SoftwareError(MlmakeError):
    """The software of an environment cannot be had, and would not be had by trying again.

    `words` are the last of what could not make it.
    """

    def __init__(self, message: str, *, hint: str = "", words: str = "") -> None:
        super().__init__(message, hint=hint)
        self.words = words


class SoftwareUnavailable(SoftwareError):
    """What an environment is got from or built with is busy or out of reach: it may go well later."""


class BuildFailed(MlmakeError):
    """At least one step failed."""

    exit_code = 1


class RunFailed(BuildFailed):
    """A run that was waited for failed or was cancelled; `error_details` are words of what went wrong."""

    def __init__(self, message: str, *, hint: str = "", error_details: str = "") -> None:
        super().__init__(message, hint=hint)
        self.error_details = error_details


class Stale(MlmakeError):
    """`status --check` found something to do."""

    exit_code = 3


class Interrupted(MlmakeError):
    """Ctrl-C, or a signal, asked to stop."""

    exit_code = 130


def nearest(word: str, legal: Iterable[str]) -> str:
    """The legal word closest to `word`, or "" where none is close."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, list(legal), n=1, cutoff=0.6)), "")
