"""What is done after builds: commands that are run, and addresses that are told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from http.client import HTTPException
from queue import SimpleQueue
from urllib.parse import urlsplit

from mlmake.errors import UsageError
from mlmake.model.run import Summary

_PATIENCE = 10.0
"""Seconds for an address to answer, and for what still runs when the watch ends."""
_LONGEST = 100_000
"""Bytes of a variable; Linux takes 131,072 with its name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Hooks:
    """Commands, or addresses that begin with `http://` or `https://`; "" for none."""

    always: str = ""
    on_success: str = ""
    on_failure: str = ""

    def of(self, is_good: bool) -> list[str]:
        """Those for a build that ended so."""
        return [each for each in (self.always, self.on_success if is_good else self.on_failure) if each]

    def check(self) -> None:
        """Raises UsageError for an address that cannot be one."""
        for each in (self.always, self.on_success, self.on_failure):
            if is_address(each) and (problem := _flaw(each)):
                raise UsageError(f"an address to be told {problem}", hint="write it as https://host/path")


class Messenger:
    """Runs hooks one after another in a thread of its own, so that no build waits for them."""

    def __init__(self, hooks: Hooks, root: str, problem: Callable[[str], None]) -> None:
        self._hooks = hooks
        self._root = root
        self._problem = problem
        self._waiting: SimpleQueue[tuple[str, Mapping[str, object]] | None] = SimpleQueue()
        self._running: subprocess.Popen[bytes] | None = None
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="watch-hooks", daemon=True)
        if hooks != Hooks():
            self._thread.start()

    def tell(self, summary: Summary, is_good: bool, why: Sequence[str], stale: Sequence[str]) -> None:
        """Tell how a build ended."""
        told = message(self._root, summary, is_good, why, stale)
        for hook in self._hooks.of(is_good):
            self._waiting.put((hook, told))

    def close(self) -> None:
        """Wait a while for what is to be told still, then end it."""
        if not self._thread.is_alive():
            return
        self._waiting.put(None)
        self._thread.join(_PATIENCE)
        self._is_over = True
        running = self._running
        if self._thread.is_alive() and running:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            self._thread.join(_PATIENCE)

    def _run(self) -> None:
        while (waiting := self._waiting.get()) is not None and not self._is_over:
            hook, told = waiting
            problem = _post(hook, told) if is_address(hook) else self._execute(hook, told)
            if problem:
                self._problem(problem)

    def _execute(self, command: str, told: Mapping[str, object]) -> str:
        env = {**os.environ, **_variables(told)}
        try:
            self._running = subprocess.Popen(
                ["/bin/sh", "-c", command], cwd=self._root, env=env, stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:
            return f"`{command}` cannot be run: {error.strerror or error}"
        code = self._running.wait()
        self._running = None
        return f"`{command}` ended with exit code {code}" if code else ""


def message(root: str, summary: Summary, is_good: bool, why: Sequence[str], stale: Sequence[str]) -> dict[str, object]:
    """What is told of a build: the summary's numbers, and a sentence in `text`."""
    return {
        "outcome": "done" if is_good else "failed",
        "text": f"{os.path.basename(root)}: {summary}",
        "changed": list(why),
        "stale": list(stale),
        **asdict(summary),
    }


def is_address(hook: str) -> bool:
    """Whether a hook is an address and no command."""
    return hook.startswith(("http://", "https://"))


def _variables(told: Mapping[str, object]) -> dict[str, str]:
    return {
        "MLMAKE_OUTCOME": str(told["outcome"]),
        "MLMAKE_SUMMARY": str(told["text"]),
        "MLMAKE_CHANGED": _cut("\n".join(map(str, told["changed"]))),  # type: ignore[call-overload]
    }


def _cut(lines: str) -> str:
    """The first lines, as many as the kernel takes in one variable."""
    told = os.fsencode(lines)
    return lines if len(told) <= _LONGEST else os.fsdecode(told[:_LONGEST].rpartition(b"\n")[0])


def _post(address: str, told: Mapping[str, object]) -> str:
    """Send JSON to an address; what went wrong. The address may hold a secret, so only its host is named."""
    body = json.dumps(told).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return f"{_host(address)} was told, and answered with {error.code} {error.reason}"
    except HTTPException as error:  # its words may quote the address
        return f"{_host(address)} cannot be told: it answers with something else than HTTP ({type(error).__name__})"
    except (OSError, ValueError) as error:
        return f"{_host(address)} cannot be told: {getattr(error, 'reason', error)}"


def _flaw(address: str) -> str:
    """Why nothing can be sent to an address, in words that do not quote it; "" if it can."""
    try:
        parts = urlsplit(address)
        _ = parts.port
    except ValueError:
        return "has a host or port that is none"
    if any(letter <= " " or letter == "\x7f" for letter in address):
        return "has a blank in it"
    if parts.username is not None:
        return "has a user in it, which is not sent"
    return "" if parts.hostname else "has no host"


def _host(address: str) -> str:
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
