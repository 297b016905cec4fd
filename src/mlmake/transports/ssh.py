"""A host over SSH, by the `ssh` program: so configuration, jump hosts, agents, keys and known hosts are as it has them.

The first connection carries the later ones (ssh's ControlMaster), so that a passphrase is asked once; it ends with the
process that made it, so that nothing stays behind.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field

from mlmake.errors import HostError, HostUnavailable
from mlmake.model.project import Compute
from mlmake.transports.base import last_line

_CONNECT = 15
_ALIVE, _MISSED = 15, 4
"""Seconds between signs of life, and how many of them may be missed."""
_FAILED = 255
"""ssh's own exit code, where it is not that of the program it started."""
_NO_PROGRAM = 127
_WILL_PASS = re.compile(
    r"connection refused|timed out|no route to host|network is unreachable|connection reset|connection closed"
    r"|closed by remote host|broken pipe|kex_exchange_identification|temporary failure|lost connection|not responding"
    r"|mux_client|session open refused",
    re.IGNORECASE,
)
_HOST = re.compile(r"(?:(?P<user>.*)@)?(?:\[(?P<six>[^]]*)\]|(?P<host>[^:]*))(?::(?P<port>\d+))?")
"""`user@host:port`, `[::1]:22`; what does not look so, such as `::1`, is taken whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ssh:
    """A host.

    Attributes:
        name: of the compute target, for people.
        host: an alias of the user's configuration, a name, or `user@host:port`.
        options: further words for `ssh`, such as `-F file`.
    """

    name: str
    host: str
    root: str = "~/.mlmake"
    user: str = ""
    port: int = 0
    key: str = ""
    options: tuple[str, ...] = ()
    _sockets: list[str] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def of(cls, compute: Compute, folder: str) -> Ssh:
        """The host of a target of kind `ssh`; its files are relative to a folder."""
        said = compute.options
        config, hosts, key = (_file(said[name], folder) for name in ("config", "known_hosts", "key"))
        known = f'UserKnownHostsFile="{hosts.replace("%", "%%")}"'  # it could be a list, and %h the host
        options = [*(["-F", config] if config else []), *(["-o", known] if hosts else [])]
        return cls(
            name=compute.name,
            host=said["host"],
            root=said["root"],
            user=said["user"],
            port=said["port"],
            key=key,
            options=tuple(options),
        )

    def argv(self, words: Sequence[str]) -> tuple[str, ...]:
        return (
            *("ssh", *self._login(), "-T", "-e", "none"),
            *_settings(
                StrictHostKeyChecking="yes",
                ConnectTimeout=_CONNECT,
                ServerAliveInterval=_ALIVE,
                ServerAliveCountMax=_MISSED,
                ControlMaster="auto",
                ControlPath=f"{self._folder()}/s",
                ControlPersist="no",
                ClearAllForwardings="yes",
                RemoteCommand="none",
                LogLevel="INFO",
                **({} if os.isatty(2) else {"BatchMode": "yes"}),
            ),
            "--",
            self._address(),
            f"exec {shlex.join(words)}",
        )

    def explain(self, exit_code: int, said: str) -> HostError:
        last = last_line(said) or f"exit code {exit_code}"
        if exit_code == _FAILED:
            return self._unconnected(said, last)
        if exit_code == _NO_PROGRAM:
            hint = "install Python 3.8 or newer there; mlmake needs nothing else"
            return self._error(f"has no python3: {last}", hint, "python")
        if "mlmake needs Python" in last:
            return self._error(f"has too old a Python: {last}", "install a newer one there, as python3", "python")
        if "cannot write to" in last:
            hint = "make room, or set 'root' in its table to another folder"
            return self._error(f"has no room for us: {last}", hint, "disk")
        return self._error(f"ended our agent with exit code {exit_code}: {last}", f"try: {self._by_hand()}")

    def close(self) -> None:
        while self._sockets:
            shutil.rmtree(self._sockets.pop(), ignore_errors=True)

    def _unconnected(self, said: str, last: str) -> HostError:
        """ssh itself failed."""
        if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
            return self._refused(said)
        if "Permission denied (" in said or "Too many authentication failures" in said:
            return self._error(f"refuses to let us in: {last}", f"try: {self._by_hand()}", "login")
        if "Could not resolve hostname" in said and "Temporary failure" not in said:
            return self._error(f"has no address: {last}", "look at 'host' in its table, or at ~/.ssh/config")
        if _WILL_PASS.search(said) or not said.strip():
            return HostUnavailable(f"host {self.name!r} cannot be reached: {last}", hint=f"try: {self._by_hand()}")
        return self._error(f"cannot be connected to: {last}", f"try: {self._by_hand()}")

    def _folder(self) -> str:
        """Where the master's socket lies: a short path, as the system takes 104 bytes at most, and for us alone."""
        if not self._sockets:
            self._sockets.append(tempfile.mkdtemp(prefix="mlmake-"))
        return self._sockets[0]

    def _parsed(self) -> tuple[str, str, str]:
        """User, host and port as `host` says them."""
        found = _HOST.fullmatch(self.host)
        if found is None:
            return "", self.host, ""
        return found["user"] or "", found["six"] or found["host"] or "", found["port"] or ""

    def _address(self) -> str:
        user, host, _ = self._parsed()
        return f"{user}@{host}" if user else host

    def _login(self) -> list[str]:
        port = str(self.port or self._parsed()[2])
        return [
            *self.options,
            *(["-l", self.user] if self.user else []),
            *(["-p", port] if port else []),
            *(["-i", self.key, "-o", "IdentitiesOnly=yes"] if self.key else []),
        ]

    def _by_hand(self, *more: str) -> str:
        return shlex.join(["ssh", *self._login(), *more, self._address(), "true"])

    def _refused(self, said: str) -> HostError:
        if "HAS CHANGED" in said:
            file = re.search(r"Offending \S+ key in (\S+):(\d+)", said)
            where = f" (line {file[2]} of {file[1]})" if file else ""
            return self._error(
                f"has another key than the known one{where}: somebody may be listening in",
                "if the host really has a new key, remove the old one with ssh-keygen -R, then: "
                + self._by_hand("-o", "StrictHostKeyChecking=ask"),
                "host key",
            )
        return self._error(
            "has a key that is not known here, and is not trusted for that",
            f"compare its fingerprint and accept it with: {self._by_hand('-o', 'StrictHostKeyChecking=ask')}",
            "host key",
        )

    def _error(self, what: str, hint: str, about: str = "reachable") -> HostError:
        return HostError(f"host {self.name!r} {what}", hint=hint, about=about)


def _file(path: str, folder: str) -> str:
    return os.path.join(folder, os.path.expanduser(path)) if path else ""


def _settings(**settings: object) -> list[str]:
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
