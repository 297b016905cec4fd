"""Real servers on this machine's loopback: S3 (moto's), SSH (OpenSSH's), MLflow's, and a web server that does as it
is told.

Each is a process (or thread) of its own on a free port, and is ended by its id. Tests have what all share from the
fixtures `s3` and `box`, and start one of their own where they hold it up or end it. Where a program is absent the test
is skipped, and fails where MLMAKE_CI is set.
"""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

HOST = "127.0.0.1"
_STARTING = 60.0


def lack(what: str) -> None:
    """Skip the test for want of something; fail it where all is meant to be installed."""
    if os.environ.get("MLMAKE_CI"):
        pytest.fail(what)
    pytest.skip(what)


@dataclass(frozen=True)
class S3Server:
    """An S3 with nothing in it."""

    endpoint: str

    PAGE = 100
    """Keys that it lists in one answer; a thousand would take long to make."""
    KEY = "test-key"
    SECRET = "test-secret-9f2c"

    @property
    def options(self) -> dict[str, Any]:
        """Options of a datastore, as in pipelines.toml but with the values filled in."""
        return {"key": self.KEY, "secret": self.SECRET, "endpoint_url": self.endpoint}

    def bucket(self) -> str:
        """The url of a new bucket."""
        import s3fs

        name = f"b{uuid.uuid4().hex[:12]}"
        s3fs.S3FileSystem(**self.options, skip_instance_cache=True).mkdir(name)
        return f"s3://{name}"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """moto's server; it is told its port by the system and says it."""
    try:
        import moto.server  # noqa: F401
        import s3fs  # noqa: F401
    except ImportError as error:
        lack(f"the extra `test` is not installed: {error}")
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", "0"]
    env = {**os.environ, "MOTO_S3_DEFAULT_MAX_KEYS": str(S3Server.PAGE)}
    with ended(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    ) as process:
        yield S3Server(f"http://{HOST}:{_port_said(process)}")


_MLFLOW = """
import sys
from mlflow.server import app
app.run(sys.argv[1], 0, threaded=True)
"""
"""MLflow's server without the program around it, which starts another server and runs jobs that want pandas."""


@contextmanager
def mlflow_server(folder: Path) -> Iterator[str]:
    """The address of an MLflow server that keeps what it is told in `folder`, and hands artifacts on."""
    if missing := [
        name for name in ("mlflow", "flask_cors", "graphene", "alembic", "sqlalchemy") if not find_spec(name)
    ]:
        lack(f"the extra `test` is not installed: {', '.join(missing)}")
    own = {
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": f"{folder}/artifacts",
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    command = [sys.executable, "-c", _MLFLOW, HOST]
    process = subprocess.Popen(
        command, env={**os.environ, **own}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    with ended(process):
        yield f"http://{HOST}:{_port_said(process)}"


def _port_said(process: subprocess.Popen[str]) -> int:
    """The port in the server's first lines. What it says later is read and dropped, or its pipe would fill up."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(rf"http://{re.escape(HOST)}:(\d+)", line):
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return int(found[1])
    raise AssertionError(f"the server ended with {process.wait()} before it was ready")


@dataclass(frozen=True)
class SshServer:
    """An sshd that lets this user in with `key`, whose own key is in `known_hosts`; its files lie in `folder`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def user(self) -> str:
        return getpass.getuser()

    @property
    def key(self) -> Path:
        return self.folder / "user_key"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def options(self) -> dict[str, Any]:
        """Options of a datastore; a configuration of whoever runs the tests does not count."""
        return {"key_filename": str(self.key), "known_hosts": str(self.known_hosts), "config": "/dev/null"}

    def url(self, folder: Path) -> str:
        """The url of a folder of this machine through the server."""
        return f"sftp://{self.user}@{HOST}:{self.port}{folder}"


@contextmanager
def ssh_server(folder: Path, *, config: str = "") -> Iterator[SshServer]:
    """sshd with a configuration, host key and list of authorized keys of its own, in `folder`.

    `config` are further lines of the configuration.
    """
    programs = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin") for name in _PROGRAMS}
    if missing := [name for name, path in programs.items() if path is None]:
        lack(f"OpenSSH's {', '.join(missing)} is not installed")
    folder.chmod(0o700)
    for name in ("host_key", "user_key"):
        _run(str(programs["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    for _ in range(3):  # another process may take the port in between
        port = free_port()
        (folder / "sshd_config").write_text(_CONFIG.format(folder=folder, port=port, host=HOST) + config)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = [str(programs["sshd"]), "-D", "-e", "-f", str(folder / "sshd_config")]
        with (folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        with ended(process):
            if not listens(port, process):
                continue
            kind, text = (folder / "host_key.pub").read_text().split()[:2]
            (folder / "known_hosts").write_text(f"[{HOST}]:{port} {kind} {text}\n")
            yield SshServer(folder, port, process)
            return
    raise AssertionError(f"sshd does not start:\n{(folder / 'sshd.log').read_text()}")


_PROGRAMS = ("sshd", "ssh-keygen")
_CONFIG = """
ListenAddress {host}
Port {port}
HostKey {folder}/host_key
PidFile {folder}/sshd.pid
AuthorizedKeysFile {folder}/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
Subsystem sftp internal-sftp
"""


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port: int = taken.getsockname()[1]
        return port


def listens(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether a server takes connections before it ends or time is up."""
    until = time.monotonic() + _STARTING
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return True
        time.sleep(0.02)
    return False


@contextmanager
def ended(process: Any) -> Iterator[Any]:
    """End a process with the block, whatever happens."""
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass
class Proxy:
    """Hands bytes on between whoever connects to `port` and a server; counts them, and cuts where it is told to.

    Attributes:
        server: a port of this machine, or the path of a socket.
        cut_after: cut every connection after so many bytes in both directions, counted over all of them; then it is
            None again, and what connects anew goes through.
        is_down: hang up on everybody.
        up, down: bytes to the server and from it.
    """

    port: int
    server: int | str
    cut_after: int | None = None
    is_down: bool = False
    up: int = 0
    down: int = 0
    cuts: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _open: list[socket.socket] = field(default_factory=list)

    def cut(self) -> None:
        """Cut every connection now."""
        with self._lock:
            self.cuts += 1
            self.cut_after = None
            for each in self._open:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._open.clear()

    def serve(self, listener: socket.socket) -> None:
        """Take connections until the listener is closed."""
        while True:
            try:
                near, _ = listener.accept()
                if self.is_down:
                    near.close()
                    continue
                far = _connected(self.server)
            except OSError:
                return
            with self._lock:
                self._open += [near, far]
            for source, target, is_up in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._hand_on, args=(source, target, is_up), daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, is_up: bool) -> None:
        try:
            while block := source.recv(1 << 16):
                if (rest := self.cut_after) is not None:
                    block, self.cut_after = block[:rest], rest - len(block)
                target.sendall(block)
                self.up += len(block) if is_up else 0
                self.down += 0 if is_up else len(block)
                if self.cut_after is not None and self.cut_after <= 0:
                    self.cut()
            target.shutdown(socket.SHUT_WR)  # what comes the other way may not be all yet
        except OSError:
            for each in (source, target):
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


def _connected(server: int | str) -> socket.socket:
    if isinstance(server, int):
        return socket.create_connection((HOST, server))
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(server)
    return connection


@contextmanager
def proxy(server: int | str) -> Iterator[Proxy]:
    """A proxy before a port or socket of this machine, in threads of this process."""
    with socket.create_server((HOST, 0)) as listener:
        made = Proxy(listener.getsockname()[1], server)
        threading.Thread(target=made.serve, args=(listener,), daemon=True).start()
        yield made
        listener.shutdown(socket.SHUT_RDWR)
        made.cut()


@dataclass
class Answer:
    """What the web server says: a status with headers and a body, of which it may send a part and hang up."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    sends: int | None = None


@dataclass
class WebServer:
    """Answers from `answer(method, path, range)`; `asked` is what came in, each as `GET /path`."""

    url: str
    answer: Callable[[str, str, str], Answer] = field(default=lambda method, path, wanted: Answer(404))
    asked: list[str] = field(default_factory=list)


@contextmanager
def web_server() -> Iterator[WebServer]:
    """A web server in a thread of this process."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            server.asked.append(f"{self.command} {self.path}")
            answer = server.answer(self.command, self.path, self.headers.get("Range", ""))
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body[: answer.sends])
            if answer.sends is not None:
                self.close_connection = True

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            """Tests look at `asked`."""

    with ThreadingHTTPServer((HOST, 0), Handler) as http:
        server = WebServer(f"http://{HOST}:{http.server_address[1]}")
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


class Lake:
    """A bucket, seen with s3fs itself."""

    def __init__(self, server: S3Server) -> None:
        import s3fs

        self.url = server.bucket()
        self.fs: Any = s3fs.S3FileSystem(**server.options, skip_instance_cache=True, use_listings_cache=False)

    def write(self, files: dict[str, str]) -> None:
        for key, text in files.items():
            self.fs.pipe_file(f"{self.url}/{key}", text.encode())

    def read(self, key: str) -> str:
        return str(self.fs.cat_file(f"{self.url}/{key}").decode())

    def keys(self, folder: str) -> list[str]:
        prefix = f"{self.url.removeprefix('s3://')}/{folder}/"
        return sorted(path.removeprefix(prefix) for path in self.fs.find(f"{self.url}/{folder}"))

    def has(self, key: str) -> bool:
        return bool(self.fs.exists(f"{self.url}/{key}"))
