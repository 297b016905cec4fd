"""Hosts for tests: every way to one, with the jobs that the suites run there. See `conformance/test_hosts.py`."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import xxhash

from engines import Engine, base_image
from mlmake.executors.containers import Mount, find_argv, found, remove_argv
from mlmake.executors.docker import DockerExecutor, Housing
from mlmake.executors.host import HostExecutor
from mlmake.model.job import Cargo, Finished, Job, Shipment
from mlmake.transports.agent import files, guard
from mlmake.transports.base import Transport
from mlmake.transports.ssh import Ssh
from projects import until
from servers import HOST, SshServer, ssh_server

_SHELL = """#!/bin/sh
cd "$HOME" || exit 1
[ -e '{folder}/rc' ] && . '{folder}/rc'
exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"
"""


@dataclass(frozen=True)
class Door:
    """An sshd whose users have a home of their own in `folder/home`, and whose login shell first runs `folder/rc`."""

    server: SshServer

    @property
    def folder(self) -> Path:
        return self.server.folder

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def known_hosts(self) -> Path:
        """The server's key for every address, so that a proxy may stand before it."""
        return self.folder / "known_everywhere"

    def rc(self, script: str) -> None:
        """What the login shell does before a command."""
        (self.folder / "rc").write_text(script)

    def ssh(self, root: Path | str, *, port: int = 0, **more: Any) -> Ssh:
        """The way through this door."""
        options = ("-F", "/dev/null", "-o", f"UserKnownHostsFile={more.pop('known_hosts', self.known_hosts)}")
        given: dict[str, Any] = {
            "name": "box",
            "host": HOST,
            "user": self.server.user,
            "port": port or self.server.port,
            "key": str(self.server.key),
            "root": str(root),
            "options": options,
        }
        return Ssh(**{**given, **more})

    def table(self, root: Path | str = "~/.mlmake", *, port: int = 0, **more: object) -> str:
        """The keys of a `[compute.…]` table that leads through this door."""
        keys = {
            "kind": "ssh",
            "host": HOST,
            "user": self.server.user,
            "port": port or self.server.port,
            "key": str(self.server.key),
            "known_hosts": str(self.known_hosts),
            "config": "/dev/null",
            "root": str(root),
            **more,
        }
        return "\n".join(f"{name} = {value!r}" for name, value in keys.items())


@contextmanager
def door(folder: Path, python: str = sys.executable) -> Iterator[Door]:
    """A door behind which `python3` is the given one."""
    (folder / "home").mkdir()
    (folder / "bin").mkdir()
    _program(folder / "bin" / "python3", f'#!/bin/sh\nexec {shlex.quote(python)} "$@"\n')
    _program(folder / "shell", _SHELL.format(folder=folder))
    config = f"SetEnv HOME={folder}/home PATH={folder}/bin:/usr/bin:/bin\nForceCommand {folder}/shell\n"
    with ssh_server(folder, config=config) as server:
        made = Door(server)
        key = (folder / "host_key.pub").read_text()
        made.known_hosts.write_text(f"* {key}")
        yield made


def _program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@dataclass
class Site:
    """A way to a host and the jobs of one test; all that is started is ended with it."""

    transport: Transport
    folder: Path
    executors: list[HostExecutor] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    count: int = 0

    @property
    def root(self) -> Path:
        return Path(self.transport.root)

    @property
    def executor(self) -> HostExecutor:
        """The executor of this test; the first use makes it."""
        return self.executors[0] if self.executors else self.another()

    def another(self, transport: Transport | None = None, **more: Any) -> HostExecutor:
        made = self.made(transport or self.transport, notice=self.notices.append, **{"patience": 30.0, **more})
        self.executors.append(made)
        return made

    def made(self, transport: Transport, **more: Any) -> HostExecutor:
        """An executor of this way."""
        return HostExecutor(transport, **more)

    @property
    def recipe(self) -> str:
        """The same as an expression, for another process."""
        return f"HostExecutor({self.transport!r})"

    def signalled(self, number: int) -> int:
        """The exit code of a job that a signal has ended."""
        return -number

    def cargo(self, path: str, content: bytes, *, executable: bool = False) -> Cargo:
        """A file that goes along; its source has a plain name."""
        self.count += 1
        source = self.folder / f"source-{self.count}"
        source.write_bytes(content)
        return Cargo(path, str(source), xxhash.xxh3_128_hexdigest(content), len(content), executable)

    def job(
        self,
        script: str,
        files: Sequence[Cargo] = (),
        *,
        argv: tuple[str, ...] = (),
        env: Mapping[str, str] | None = None,
        folders: tuple[str, ...] = ("out",),
        name: str = "",
        timeout: float = 0.0,
        is_new: bool = False,
    ) -> Job:
        """A shell script, or a command line, as a job of its own."""
        self.count += 1
        name = name or f"job{self.count}"
        return Job(
            name=name,
            argv=argv or ("/bin/sh", "-c", script),
            env=env or {},
            folder="",
            log=str(self.folder / f"{self.count}.log"),
            timeout=timeout,
            shipment=Shipment(name=name, files=tuple(files), folders=folders, is_new=is_new),
        )

    def end(self, handle: str, executor: HostExecutor | None = None) -> Finished:
        executor = executor or self.executor
        return until(lambda: executor.wait([handle], 1), f"the end of {handle}")[0]

    def run(self, job: Job) -> Finished:
        """Run a job to its end."""
        return self.end(self.executor.submit(job))

    def log(self, job: Job) -> bytes:
        path = Path(job.log)
        return path.read_bytes() if path.exists() else b""

    def fetch(self, job: Job, *paths: str, bring: Callable[[str, str, bool], bool] = lambda *_: False) -> Path:
        """What a job wrote to `out`, or to other paths, in a new folder; one path alone is that folder."""
        assert job.shipment is not None
        self.count += 1
        place = self.folder / f"back-{self.count}"
        places = {path: str(place / path) for path in paths} if paths else {"out": str(place)}
        self.executor.collect(job.shipment.name, places, bring)
        return place

    def tree(self, job: Job) -> Path:
        """A job's folder on the host, which is this machine."""
        return self.root / "jobs" / job.name / "tree"

    def alive(self) -> list[int]:
        """Processes of jobs on this host."""
        return [pid for pid in guard.marked(f"{self.root}/jobs/") if psutil.pid_exists(pid)]

    def jobs(self) -> list[str]:
        folder = self.root / "jobs"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def left(self) -> list[str]:
        """What is neither an object nor the agent nor a job: remains of something that went wrong."""
        incoming = self.root / "incoming"
        half = [name for name in self.jobs() if ".new-" in name or name.startswith("gone.")]
        return half + (sorted(os.listdir(incoming)) if incoming.exists() else [])

    def objects(self) -> int:
        """Contents that the host has."""
        return sum(len(names) for _, _, names in os.walk(self.root / "objects"))

    def close(self) -> None:
        for executor in self.executors:
            executor.close()
        for job in self.jobs():
            told = files.read_json(str(self.root / "jobs" / job / "pid.json")) or {}
            for pid in (told.get("runner"), told.get("process")):
                if pid and files.is_locked(str(self.root / "jobs" / job / "lock")):
                    _end_tree(pid)


@dataclass
class Boxed(Site):
    """The same jobs in containers: of an engine of this machine, which therefore sees the same folders.

    Containers see the test's own folder too, and have no network, as that takes time.
    """

    engine: Engine = field(default_factory=Engine)

    @property
    def housing(self) -> Housing:
        mounts = (Mount(str(self.folder), str(self.folder)),)
        return Housing(project=str(self.folder), network=False, mounts=mounts, engine=self.engine.host)

    def made(self, transport: Transport, **more: Any) -> HostExecutor:
        return DockerExecutor(transport, housing=self.housing, **more)

    @property
    def recipe(self) -> str:
        return f"DockerExecutor({self.transport!r}, housing={self.housing!r})"

    def signalled(self, number: int) -> int:
        """As a shell tells it; Docker knows no other way."""
        return 128 + number

    def job(self, script: str, files: Sequence[Cargo] = (), **more: Any) -> Job:
        return replace(super().job(script, files, **more), image=base_image(self.engine))

    def containers(self) -> list[str]:
        return [each.name for each in found(self.engine.docker(*find_argv(project=str(self.folder))[1:]).stdout)]

    def alive(self) -> list[int]:
        """Processes in containers too."""
        tops = [self.engine.docker("top", name, "-o", "pid", check=False).stdout for name in self.containers()]
        return [*super().alive(), *(int(word) for top in tops for word in top.split() if word.isdigit())]

    def close(self) -> None:
        super().close()
        for name in self.containers():
            self.engine.docker(*remove_argv(name)[1:], check=False)


def _end_tree(pid: int) -> None:
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for each in (*top.children(recursive=True), top):
            with suppress(psutil.Error):
                each.kill()


def pythons(*versions: str) -> list[str]:
    """Interpreters of these versions that are on this machine."""
    found = []
    for version in versions:
        places = [Path(f"/usr/bin/python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
        found += [str(place) for place in places if place.exists() and _runs(place)][:1]
    return found


def _runs(python: Path) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0
