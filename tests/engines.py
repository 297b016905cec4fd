"""Real Docker on this machine: an engine, a base image made from Debian's packages, and hosts that are containers.

Tests have the engine from the fixture `engine`. One that answers is used. Else root starts Debian's `dockerd` with
folders of its own under the cache folder; test processes that run at once share it, and the last of them ends it. What
cannot be had skips the test, and fails it where MLMAKE_CI is set.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from servers import HOST, Proxy, free_port, lack, proxy

_STARTING = 60.0
_BASE = "mlmake-tests/base"
_VERSION = "1"
"""Of what `_fill` makes; another number makes the image anew."""
_LABEL = "mlmake-tests"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
USER = "worker"
"""Who may log in to a host that is a container, beside root."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine; `host` is what DOCKER_HOST says to reach it, "" for nothing."""

    host: str = ""

    @property
    def env(self) -> dict[str, str]:
        """This process's environment, with what the docker program needs to reach the engine."""
        return {**os.environ, **({"DOCKER_HOST": self.host} if self.host else {})}

    def docker(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the docker program."""
        run = subprocess.run(
            ["docker", *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=300,
            check=False,
            env=self.env,
        )
        assert not check or run.returncode == 0, f"docker {' '.join(args)}: {run.stdout}{run.stderr}"
        return run

    def answers(self) -> bool:
        return self.docker("version", "--format", "{{.Server.Version}}", check=False).returncode == 0


@contextmanager
def tcp_engine(engine: Engine) -> Iterator[tuple[Engine, Proxy]]:
    """An engine behind a port of this machine, on 127.0.0.1 only, and what hands it on to the engine's own socket."""
    with proxy(engine.host.removeprefix("unix://") or "/var/run/docker.sock") as handed_on:
        yield Engine(f"tcp://{HOST}:{handed_on.port}"), handed_on


@contextmanager
def docker_engine() -> Iterator[Engine]:
    """An engine: the one that answers, or one of our own."""
    if shutil.which("docker") is None:
        lack("Docker is not installed")
    if (engine := Engine()).answers():
        yield engine
        return
    if os.getuid() != 0:
        lack("no Docker engine answers, and only root can start one")
    if shutil.which("dockerd", path=programs()) is None:
        lack("no Docker engine answers, and there is no dockerd to start one")
    data = _cache() / "docker"
    folder = Path("/run/mlmake-tests") / sha256(os.fsencode(data)).hexdigest()[:8]  # paths of sockets must be short
    folder.mkdir(parents=True, exist_ok=True)
    with _shared(folder, data):
        yield _own(folder)


def _own(folder: Path) -> Engine:
    return Engine(f"unix://{folder}/docker.sock")


def programs() -> str:
    """Where programs are looked for, those of root too."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin:/sbin"


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "mlmake-tests"


@contextmanager
def _shared(folder: Path, data: Path) -> Iterator[None]:
    """The engine of a folder runs within the block; it starts with the first user's block and ends with the last's.

    Every user holds a shared lock that goes with its process, so that a killed one is not waited for.
    """
    with (folder / "users").open("w") as users, (folder / "lock").open("w") as lock:
        with _locked(lock):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not _own(folder).answers():
                _stop(folder, data)
                _start(folder, data)
        try:
            yield
        finally:
            with _locked(lock):
                fcntl.flock(users, fcntl.LOCK_UN)
                with suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _stop(folder, data)


@contextmanager
def _locked(file: Any) -> Iterator[None]:
    fcntl.flock(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)


def _start(folder: Path, data: Path) -> None:
    """Start dockerd in a session of its own: it outlives the test process that needed it first.

    It leaves the firewall alone. It needs forwarding, which `_stop` sets back; without, every container has a warning
    in its log. Ports are published by Docker's own proxy, so on 127.0.0.1 as well.
    """
    (folder / "forwarding").write_text(_FORWARDING.read_text())
    command = [
        *(str(shutil.which("dockerd", path=programs())), "--host", _own(folder).host),
        *("--data-root", str(data), "--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "dockerd.pid"), "--iptables=false", "--ip6tables=false"),
    ]
    with (folder / "dockerd.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env={**os.environ, "PATH": programs()},
            cwd="/",
        )
    until = time.monotonic() + _STARTING
    while not _own(folder).answers():
        if process.poll() is not None or time.monotonic() > until:
            _stop(folder, data)
            lack(f"dockerd does not start here:\n{_tail(folder / 'dockerd.log')}")
        time.sleep(0.1)


def _stop(folder: Path, data: Path) -> None:
    """End the engine of a folder by its id, if it runs; all containers end with it. What it mounted is let go."""
    with suppress(FileNotFoundError, ValueError):
        pid = int((folder / "dockerd.pid").read_text())
        if b"dockerd" in Path(f"/proc/{pid}/cmdline").read_bytes():  # else its number is another's by now
            os.kill(pid, signal.SIGTERM)
            until = time.monotonic() + 30
            while time.monotonic() < until and _runs(pid):
                time.sleep(0.05)
            if _runs(pid):
                os.kill(pid, signal.SIGKILL)
    while data.is_mount():  # it lets go by itself, but not if it was killed or did not start
        _run("umount", str(data))
    with suppress(FileNotFoundError):
        _FORWARDING.write_text((folder / "forwarding").read_text())
        (folder / "forwarding").unlink()


def _runs(pid: int) -> bool:
    """Not so if it has ended and whoever started it has not looked yet."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def _tail(file: Path) -> str:
    return file.read_text(errors="replace")[-3000:]


def clients() -> list[str]:
    """Every docker program here: their versions word errors differently."""
    found = {os.path.realpath(path) for each in programs().split(":") if (path := shutil.which("docker", path=each))}
    return sorted(found)


def base_image(engine: Engine) -> str:
    """The name of an image with Python, sshd and a user `worker`. It costs a minute once: it is kept as a file."""
    name = f"{_BASE}:{_VERSION}"
    with _made_once("base") as folder:
        if engine.docker("image", "inspect", name, check=False).returncode:
            tar = folder / f"base-{_VERSION}.tar"
            if not tar.exists():
                _make_base(tar)
            engine.docker("import", str(tar), name)
    return name


@contextmanager
def _made_once(what: str) -> Iterator[Path]:
    """The cache folder; who else wants to make the same waits."""
    folder = _cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{what}.lock").open("w") as lock, _locked(lock):
        yield folder


def _make_base(tar: Path) -> None:
    """A file system in a tar, from the packages of this machine's own distribution."""
    debootstrap = shutil.which("debootstrap", path=programs())
    if os.getuid() != 0 or debootstrap is None:
        lack("a base image is made by root, with debootstrap")
    mirror, release = _packages()
    root = tar.parent / f"base-{uuid.uuid4().hex[:8]}"
    log = tar.with_suffix(".log")
    include = "--include=python3,openssh-server"
    try:
        with log.open("wb") as said:
            command = [str(debootstrap), "--variant=minbase", include, release, str(root), mirror]
            made = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False, timeout=900)
        if made.returncode:
            lack(f"debootstrap makes no base image:\n{_tail(log)}")
        _finish(root)
        _run("tar", "--numeric-owner", "--one-file-system", "-C", str(root), "-cf", f"{tar}.new", ".")
        os.rename(f"{tar}.new", tar)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _packages() -> tuple[str, str]:
    """Where this machine gets its packages, and the name of its release, by its own configuration."""
    release = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    listed = _run("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Created-By: Packages")
    for line in listed.splitlines():
        uri, codename, component = line.split()
        if codename == release and component == "main":
            return uri, release
    lack(f"apt gets no packages of {release or 'this system'} from anywhere")
    raise AssertionError


def _finish(root: Path) -> None:
    """Add the user, with no password to log in by, and drop what nobody reads."""
    _run("chroot", str(root), "useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", USER)
    (root / "run" / "sshd").mkdir(parents=True, exist_ok=True)
    for name in ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(root / name, ignore_errors=True)


def _run(*argv: str) -> str:
    env = {**os.environ, "PATH": programs()}
    return subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env).stdout


@dataclass(frozen=True)
class ContainerHost:
    """A host with sshd, sh and python3, whose port is this machine's `port`, on 127.0.0.1 only.

    It lets `user` and root in with `key`; its own key is in `known_hosts`. `engine.docker("pause", host.container)`
    and the like make it misbehave; it keeps its port when it is stopped and started.
    """

    engine: Engine
    container: str
    folder: Path
    port: int
    user: str = USER

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def options(self) -> dict[str, Any]:
        """As `SshServer.options`."""
        return {"key_filename": str(self.key), "known_hosts": str(self.known_hosts), "config": "/dev/null"}

    def url(self, folder: Path) -> str:
        """The url of a folder of the host."""
        return f"sftp://{self.user}@{HOST}:{self.port}{folder}"

    def run(self, *argv: str) -> str:
        """Run a program in the host as root, past sshd."""
        return self.engine.docker("exec", self.container, *argv).stdout


@contextmanager
def container_host(engine: Engine, folder: Path, *options: str) -> Iterator[ContainerHost]:
    """A host whose keys lie in `folder`; `options` are more of `docker run`'s. It is gone with the block."""
    image = base_image(engine)
    inside = _make_keys(folder)
    name = f"mlmake-tests-{uuid.uuid4().hex[:12]}"
    try:
        mount = f"type=bind,source={inside},target={_INSIDE},readonly"
        port = _start_host(engine, name, "--mount", mount, *options, image, "/usr/sbin/sshd", "-D", "-e", "-f", _CONFIG)
        kind, text = (inside / "host_key.pub").read_text().split()[:2]
        (folder / "known_hosts").write_text(f"[{HOST}]:{port} {kind} {text}\n")
        yield ContainerHost(engine, name, folder, port)
    finally:
        engine.docker("rm", "--force", "--volumes", name, check=False)


_INSIDE = "/etc/mlmake-tests"
_CONFIG = f"{_INSIDE}/sshd_config"
_SSHD = f"""
HostKey {_INSIDE}/host_key
AuthorizedKeysFile {_INSIDE}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""


def _make_keys(folder: Path) -> Path:
    """The user's key in a folder, and a folder in there for the host, which its sshd reads as the user too."""
    inside = folder / "host"
    inside.mkdir(mode=0o755)
    for key in (inside / "host_key", folder / "user_key"):
        _run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key))
    shutil.copy(folder / "user_key.pub", inside / "authorized_keys")
    (inside / "sshd_config").write_text(_SSHD)
    return inside


def _start_host(engine: Engine, name: str, *options: str) -> int:
    """Start the container of a host and wait for its sshd; the port on this machine."""
    said = ""
    for _ in range(3):  # another process may take the port in between
        port = free_port()
        who = ("--init", "--name", name, "--hostname", name, "--label", _LABEL)
        publish = ("--publish", f"{HOST}:{port}:22")
        started = engine.docker("run", "--detach", *who, *publish, *options, check=False)
        if started.returncode == 0 and _greets(port):
            return port
        said = started.stderr + engine.docker("logs", name, check=False).stderr
        engine.docker("rm", "--force", "--volumes", name, check=False)
    raise AssertionError(f"the host does not start: {said}")


def _greets(port: int) -> bool:
    """Whether sshd speaks; Docker's proxy takes connections before that."""
    until = time.monotonic() + _STARTING
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=5) as connection:
            if connection.recv(4) == b"SSH-":
                return True
        time.sleep(0.05)
    return False
