"""Contents to a host and back, beside rsync and scp over the same sshd; and what a step there costs beside `ssh`.

python -m benchmarks.ship --size 1073741824 --files 10000

All go to an sshd of this machine with keys of its own, in turn. A ratio is ours over the other's, each the median of
its turns, of wall time; every machine's work is this machine's, so sender and receiver share its CPUs.
"""

from __future__ import annotations

import argparse
import getpass
import os
import random
import shlex
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import xxhash

from benchmarks.scratch import remove, scratch
from mlmake.executors.host import HostExecutor
from mlmake.model.job import Cargo, Job, Shipment
from mlmake.transports.ssh import Ssh

HOST = "127.0.0.1"
_FOLDERS = 100
_BLOCK = 1 << 20
_CONFIG = """
ListenAddress {host}
Port {port}
HostKey {folder}/host_key
PidFile none
AuthorizedKeysFile {folder}/user_key.pub
PasswordAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
SetEnv HOME={folder}/home
Subsystem sftp internal-sftp
"""


class Kind(NamedTuple):
    """What is shipped: a name and the files."""

    name: str
    files: tuple[Cargo, ...]


@dataclass(frozen=True)
class Server:
    """An sshd of this machine."""

    folder: Path
    port: int

    @property
    def options(self) -> tuple[str, ...]:
        hosts = f"UserKnownHostsFile={self.folder}/known_hosts"
        return ("-F", "/dev/null", "-o", hosts, "-o", "BatchMode=yes", "-i", f"{self.folder}/user_key")

    @property
    def ssh(self) -> tuple[str, ...]:
        """The command line up to the address."""
        return ("ssh", *self.options, "-p", str(self.port))

    def transport(self, root: Path) -> Ssh:
        return Ssh(name="box", host=HOST, user=getpass.getuser(), port=self.port, root=str(root), options=self.options)


@contextmanager
def server(folder: Path) -> Iterator[Server]:
    """sshd with keys of its own."""
    (folder / "home").mkdir(parents=True)
    for name in ("host_key", "user_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        port = int(taken.getsockname()[1])
    (folder / "known_hosts").write_text(f"* {(folder / 'host_key.pub').read_text()}")
    (folder / "sshd_config").write_text(_CONFIG.format(host=HOST, port=port, folder=folder))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    assert program, "sshd is not installed"
    command = [program, "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        made = Server(folder, port)
        while subprocess.run([*made.ssh, HOST, "true"], capture_output=True, check=False).returncode:
            assert process.poll() is None, (folder / "sshd.log").read_text()
            time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait()


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, capture_output=True)


def one_large(folder: Path, size: int) -> Kind:
    """One file of random bytes."""
    path = folder / "large.bin"
    path.parent.mkdir(parents=True)
    hasher = xxhash.xxh3_128()
    with path.open("wb") as file:
        for _ in range(size // _BLOCK):
            block = os.urandom(_BLOCK)
            file.write(block)
            hasher.update(block)
    cargo = Cargo("in/large.bin", str(path), hasher.hexdigest(), path.stat().st_size)
    return Kind(f"{size:,} bytes in one file", (cargo,))


def many_small(folder: Path, files: int, size: int) -> Kind:
    """Small files of random bytes, spread over a hundred folders."""
    chance = random.Random(files)
    made = []
    for number in range(files):
        path = folder / f"{number % _FOLDERS:02}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = chance.randbytes(size)
        path.write_bytes(content)
        inside = f"in/{path.relative_to(folder)}"
        made.append(Cargo(inside, str(path), xxhash.xxh3_128_hexdigest(content), size))
    return Kind(f"{files:,} files of {size:,} bytes", tuple(made))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def job(name: str, folder: Path, files: tuple[Cargo, ...], script: str = "true") -> Job:
    return Job(
        name=name,
        argv=("/bin/sh", "-c", script),
        env={},
        folder="",
        log=str(folder / f"{name}.log"),
        shipment=Shipment(name=name, files=files, folders=("out",)),
    )


def ended(executor: HostExecutor, todo: Job) -> None:
    """Run a job on the host to its end."""
    handle = executor.submit(todo)
    told = executor.wait([handle], None)
    assert told[0].exit_code == 0, told


def turn(number: int, kind: Kind, source: Path, folder: Path, there: Server) -> dict[str, float]:
    """One turn of each, to a host that knows nothing, and again when it knows all; and back."""
    place = folder / f"turn{number}"
    place.mkdir()
    shell = shlex.join(there.ssh)
    rsync = ("rsync", "-a", "-e", shell)
    port = ("-P", str(there.port))
    times = {}

    def ours() -> None:
        with closing(HostExecutor(there.transport(place / "root"))) as executor:
            executor.connect()
            times["ours"] = seconds(lambda: ended(executor, job("new", place, kind.files)))
            times["ours, known"] = seconds(lambda: ended(executor, job("known", place, kind.files)))
            executor.forget("known")
            ended(executor, job("copy", place, kind.files, "cp -R in/. out/"))
            # another machine wrote the same: nothing is here, and what is there is new to the store
            bring = lambda *_: False  # noqa: E731
            times["ours, back"] = seconds(lambda: executor.collect("copy", {"out": str(place / "back")}, bring))

    def by_rsync() -> None:
        times["rsync"] = seconds(lambda: run(*rsync, f"{source}/", f"{HOST}:{place}/rsync/"))
        times["rsync, known"] = seconds(lambda: run(*rsync, f"{source}/", f"{HOST}:{place}/rsync/"))
        times["rsync, back"] = seconds(lambda: run(*rsync, f"{HOST}:{place}/rsync/", f"{place}/rsync-back/"))

    def by_scp() -> None:
        command = ("scp", "-q", "-r", *there.options, *port)
        times["scp"] = seconds(lambda: run(*command, str(source), f"{HOST}:{place}/scp"))

    todo = [ours, by_rsync, by_scp]
    for each in todo if number % 2 else reversed(todo):
        os.sync()
        each()
    remove(place)
    return times


def overhead(folder: Path, there: Server, times: int = 20) -> tuple[float, float, float]:
    """Milliseconds of a step that does nothing, of `ssh host true`, and of that over a connection that is kept."""
    kept = ("-o", "ControlMaster=auto", "-o", f"ControlPath={there.folder}/kept", "-o", "ControlPersist=60")
    with closing(HostExecutor(there.transport(folder / "steps"))) as executor:
        ended(executor, job("first", folder, ()))
        steps = [seconds(lambda n=n: ended(executor, job(f"step{n}", folder, ()))) for n in range(times)]  # type: ignore[misc]
    anew = [seconds(lambda: run(*there.ssh, HOST, "true")) for _ in range(times)]
    run(*there.ssh, *kept, HOST, "true")
    again = [seconds(lambda: run(*there.ssh, *kept, HOST, "true")) for _ in range(times)]
    run(*there.ssh, *kept, "-O", "exit", HOST)
    one, two, three = (1000 * statistics.median(each) for each in (steps, anew, again))
    return one, two, three


def tell(name: str, turns: list[dict[str, float]], ours: str, theirs: str) -> None:
    mine, other = ([each[what] for each in turns] for what in (ours, theirs))
    ratio = statistics.median(mine) / statistics.median(other)
    each = ", ".join(f"{a:.2f}/{b:.2f}" for a, b in zip(mine, other, strict=True))
    print(f"{name}: {ours} is {ratio:.2f}x {theirs} ({each} s)", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1 << 30, help="bytes of the large file")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--each", type=int, default=4096, help="bytes of each small file")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--folder", help="where to work; by default the system's place for temporary files")
    given = parser.parse_args()
    with scratch(given.folder) as folder, server(folder / "sshd") as there:
        step, anew, again = overhead(folder, there)
        print(f"a step: {step:.0f} ms; ssh host true: {anew:.0f} ms, over a kept connection {again:.0f} ms", flush=True)
        for name in ("large", "small"):
            source = folder / name
            kind = one_large(source, given.size) if name == "large" else many_small(source, given.files, given.each)
            turns = [turn(number, kind, source, folder, there) for number in range(given.turns)]
            for ours, theirs in (
                ("ours", "rsync"),
                ("ours", "scp"),
                ("ours, known", "rsync, known"),
                ("ours, known", "rsync"),
                ("ours, back", "rsync, back"),
            ):
                tell(kind.name, turns, ours, theirs)


if __name__ == "__main__":
    main()
