"""Kind `transfer` between folders of this machine and a real S3 server, as a build runs it."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from projects import Folder, until
from servers import HOST, Answer, S3Server, ssh_server, web_server

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass
class Wire:
    """What passes between a project and the server: `passed` counts the bytes of both directions.

    The first `busy` connections are answered with 503. Beyond `limit` bytes nothing passes until it grows.
    """

    endpoint: str = ""
    passed: int = 0
    busy: int = 0
    limit: int = 1 << 60
    lock: threading.Condition = field(default_factory=threading.Condition)

    def allow(self, size: int) -> None:
        with self.lock:
            self.lock.wait_for(lambda: self.passed < self.limit)
            self.passed += size

    def free(self) -> None:
        with self.lock:
            self.limit = 1 << 60
            self.lock.notify_all()


@contextmanager
def wire_to(server: S3Server) -> Iterator[Wire]:
    host, _, port = server.endpoint.removeprefix("http://").partition(":")
    wire = Wire()

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while block := source.recv(1 << 16):
                wire.allow(len(block))
                target.sendall(block)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def serve(near: socket.socket) -> None:
        if wire.busy > 0:
            wire.busy -= 1
            with suppress(OSError), near:
                near.recv(1 << 16)
                near.sendall(BUSY)
            return
        with near, socket.create_connection((host, int(port))) as far:
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join()

    with socket.create_server((HOST, 0)) as listening:
        wire.endpoint = f"http://{HOST}:{listening.getsockname()[1]}"

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield wire
        finally:
            wire.free()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def wire(s3: S3Server) -> Iterator[Wire]:
    with wire_to(s3) as wire:
        yield wire


class Lake:
    """Two datastores `lake` and `pond` in buckets of their own, seen with s3fs itself."""

    def __init__(self, server: S3Server) -> None:
        import s3fs

        self.urls = {name: server.bucket() for name in ("lake", "pond")}
        self.fs: Any = s3fs.S3FileSystem(**server.options, skip_instance_cache=True, use_listings_cache=False)

    def url(self, path: str) -> str:
        store, _, key = path.partition("://")
        return f"{self.urls[store]}/{key}".rstrip("/")

    def write(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            self.fs.pipe_file(self.url(path), content)

    def read(self, folder: str) -> dict[str, bytes]:
        """Every file below a folder, by its name there."""
        start = f"{self.url(folder).removeprefix('s3://')}/"
        return {path.removeprefix(start): self.fs.cat_file(path) for path in self.fs.find(self.url(folder))}


@pytest.fixture
def lake(s3: S3Server, wire: Wire, project: Folder, monkeypatch: pytest.MonkeyPatch) -> Lake:
    monkeypatch.setenv("LAKE_KEY", s3.KEY)
    monkeypatch.setenv("LAKE_SECRET", s3.SECRET)
    lake = Lake(s3)
    project.head = "".join(
        f"""
[datastores.{name}]
url = "{url}"
key = "${{env:LAKE_KEY}}"
secret = "${{env:LAKE_SECRET}}"
endpoint_url = "{wire.endpoint}"
"""
        for name, url in lake.urls.items()
    )
    return lake


def transfer(project: Folder, source: str, target: str, rest: str = "") -> None:
    project.steps(f"""
        [move]
        kind = "transfer"
        inputs = {{ source = {source if source.startswith("[") else f'"{source}"'} }}
        outputs = {{ target = "{target}" }}
        {rest}
    """)


def told(project: Folder) -> str:
    """The log of the newest run."""
    logs = sorted((project.root / ".mlmake/logs").iterdir(), key=lambda path: int(path.name))
    return (logs[-1] / "p.move.log").read_text()


def below(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def moves(project: Folder) -> str:
    """Build the step, and give what its log says is to be moved."""
    built = project.build()
    assert built.done == ["move"], told(project)
    return told(project).splitlines()[0]


SOME = {"a.csv": b"one\n", "in/b.csv": b"two\n", "empty": b"", "odd/ä #1%?*[x].txt": b"odd\n"}


def at(place: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{place}{name}": content for name, content in files.items()}


@pytest.mark.parametrize(
    ("source", "target"),
    [("lake://in/", "raw/"), ("raw/", "lake://out/"), ("lake://in/", "pond://out/"), ("lake://in/", "lake://out/")],
    ids=["down", "up", "across", "inside"],
)
def test_only_what_differs_moves(project: Folder, lake: Lake, source: str, target: str) -> None:
    def write(files: dict[str, bytes]) -> None:
        lake.write(at(source, files)) if "://" in source else project.write(at(source, files))

    def remove(name: str) -> None:
        lake.fs.rm(lake.url(source + name)) if "://" in source else (project.root / source / name).unlink()

    def stands() -> dict[str, bytes]:
        return lake.read(target) if "://" in target else below(project.root / target)

    write(SOME)
    transfer(project, source, target)
    assert moves(project) == "4 of 4 files, 12 B"
    assert stands() == SOME
    assert set(project.states().values()) == {"fresh"}
    assert project.build().started == []

    write({"a.csv": b"three\n", "new": b"n"})
    remove("in/b.csv")
    assert project.states() == {"move": "stale"}
    assert moves(project) == "2 of 4 files, 7 B"
    expected = {**SOME, "a.csv": b"three\n", "new": b"n"}
    del expected["in/b.csv"]
    assert stands() == expected
    assert project.build().started == []


@pytest.mark.parametrize("target", ["raw/", "lake://out/"])
def test_an_edited_or_lost_target_is_made_whole(project: Folder, lake: Lake, target: str) -> None:
    lake.write(at("pond://in/", SOME))
    transfer(project, "pond://in/", target)
    moves(project)
    if "://" in target:
        lake.write({f"{target}a.csv": b"else"})
        lake.fs.rm(lake.url(f"{target}empty"))
    else:
        project.write({f"{target}a.csv": b"else"})
        (project.root / target / "empty").unlink()
    assert project.states() == {"move": "stale"}
    assert moves(project) == "2 of 4 files, 4 B"
    assert (lake.read(target) if "://" in target else below(project.root / target)) == SOME


def test_a_file(project: Folder, lake: Lake) -> None:
    lake.write({"lake://x": b"one"})
    transfer(project, "lake://x", "pond://y")
    assert moves(project) == "1 of 1 files, 3 B"
    assert lake.read("pond://") == {"y": b"one"}
    transfer(project, "pond://y", "in/y")
    moves(project)
    assert project.read("in/y") == "one"
    transfer(project, "in/y", "lake://deep/z")
    moves(project)
    assert lake.read("lake://deep/") == {"z": b"one"}
    assert project.build().started == []


def test_without_the_state_equal_checksums_tell(project: Folder, lake: Lake) -> None:
    lake.write(at("lake://in/", SOME))
    for target in ("raw/", "pond://out/", "lake://out/"):
        transfer(project, "lake://in/", target)
        assert moves(project) == "4 of 4 files, 12 B"
        shutil.rmtree(project.home.folder)
        assert moves(project) == "0 of 4 files, 0 B"
    transfer(project, "raw/", "pond://up/")
    moves(project)
    shutil.rmtree(project.home.folder)
    assert moves(project) == "0 of 4 files, 0 B"


def test_globs_and_lists(project: Folder, lake: Lake) -> None:
    lake.write(at("lake://in/", SOME))
    project.write({"more/c.csv": b"c"})
    transfer(project, '["lake://in/**/*.csv", "more/c.csv"]', "pond://out/")
    moves(project)
    assert lake.read("pond://out/") == {"a.csv": b"one\n", "in/b.csv": b"two\n", "c.csv": b"c"}
    transfer(project, '["lake://in/a.csv", "pond://out/a.csv"]', "both/")
    assert project.build().failed == ["move"]
    assert "would become 'a.csv'" in told(project)


def test_a_copy_inside_a_store_passes_no_bytes(project: Folder, lake: Lake, wire: Wire) -> None:
    size = 3 << 20
    lake.write({"lake://in/a": os.urandom(size), "lake://in/b": os.urandom(size)})
    transfer(project, "lake://in/", "lake://out/")
    moves(project)
    assert lake.read("lake://out/") == lake.read("lake://in/")
    assert wire.passed < size // 4
    lake.write({"lake://in/c": b"new"})
    assert moves(project) == "1 of 3 files, 3 B"


@pytest.mark.parametrize("target", ["raw/", "pond://out/"])
def test_a_killed_transfer_goes_on(project: Folder, lake: Lake, wire: Wire, target: str) -> None:
    files = {f"{number:03}": os.urandom(60_000) for number in range(150)}
    lake.write(at("lake://in/", files))
    transfer(project, "lake://in/", target)
    wire.limit = 10_000_000 if "://" in target else 5_000_000  # more than a batch of 64, less than two
    building = project.start()
    until(lambda: wire.passed >= wire.limit)
    (job,) = [each for each in project.processes() if "mlmake.services.transfer" in each.cmdline()]
    assert not any(S3Server.SECRET in word for word in job.cmdline())
    building.kill()
    building.wait()
    until(lambda: not project.processes())
    wire.free()
    assert not project.has("raw")
    assert moves(project) == "86 of 150 files, 4.9 MiB"
    assert (lake.read(target) if "://" in target else below(project.root / target)) == files
    assert not os.listdir(project.home.transfers)


def test_a_large_file_goes_on_where_it_broke(project: Folder, lake: Lake, wire: Wire) -> None:
    content = os.urandom(64 << 20)
    lake.write({"lake://big": content})
    transfer(project, "lake://big", "big")
    wire.limit = 44 << 20  # four ranges of 8 MiB are under way at once
    building = project.start()
    until(lambda: wire.passed >= wire.limit)
    arriving = Path(project.home.transfers)
    until(lambda: [path for path in arriving.rglob("*.mlmake-part") if path.stat().st_size >= 8 << 20])
    building.kill()
    building.wait()
    until(lambda: not project.processes())
    wire.free()
    before = wire.passed
    moves(project)
    assert (project.root / "big").read_bytes() == content
    assert wire.passed - before < 58 << 20


def test_a_busy_store_is_asked_again(project: Folder, lake: Lake, wire: Wire) -> None:
    lake.write(at("lake://in/", SOME))
    transfer(project, "lake://in/", "pond://out/")
    wire.busy = 3
    moves(project)
    assert lake.read("pond://out/") == SOME
    assert wire.busy == 0


@pytest.mark.parametrize("target", ["raw/", "pond://out/"])
def test_a_file_that_is_replaced_meanwhile_is_taken_again(project: Folder, lake: Lake, wire: Wire, target: str) -> None:
    lake.write({"lake://in/big": os.urandom(64 << 20), "lake://in/small": b"small"})
    transfer(project, "lake://in/", target)
    wire.limit = 20 << 20
    building = project.start()
    until(lambda: wire.passed >= wire.limit)
    new = os.urandom(20 << 20)
    lake.write({"lake://in/big": new})
    wire.free()
    assert building.wait() == 0
    assert "looking again" in told(project)
    assert (lake.read(target) if "://" in target else below(project.root / target)) == {"big": new, "small": b"small"}
    assert project.states() == {"move": "stale"}  # what it read is not what stood there when it was started
    assert moves(project) == "0 of 2 files, 0 B"
    assert project.build().started == []


def test_no_secret_is_written(project: Folder, lake: Lake) -> None:
    lake.write(at("lake://in/", SOME))
    transfer(project, "lake://in/", "pond://out/")
    built = project.build()
    assert S3Server.SECRET not in str(built.events)
    for top, _, names in os.walk(project.home.folder):
        for name in names:
            assert S3Server.SECRET.encode() not in Path(top, name).read_bytes(), name


def test_what_no_transfer_put_there_stays(project: Folder, lake: Lake) -> None:
    lake.write({"lake://in/a": b"a", "pond://out/treasure": b"gold"})
    transfer(project, "lake://in/", "pond://out/")
    assert project.build().failed == ["move"]
    assert "pond" in told(project)
    assert "treasure is not of the source" in told(project)
    assert lake.read("pond://out/") == {"treasure": b"gold"}


def test_an_empty_source_empties_nothing(project: Folder, lake: Lake) -> None:
    project.write({"raw/a": b"a"})
    transfer(project, "raw/", "lake://out/")
    moves(project)
    (project.root / "raw/a").unlink()
    assert project.build().failed == ["move"]
    assert "raw/: no file is there" in told(project)
    assert lake.read("lake://out/") == {"a": b"a"}


def test_folders_of_this_machine(project: Folder) -> None:
    project.write({"in/a.sh": "#!/bin/sh\n", "in/b": "b"})
    (project.root / "in/a.sh").chmod(0o755)
    transfer(project, "in/", "out/")
    assert moves(project) == "2 of 2 files, 11 B"
    assert os.access(project.root / "out/a.sh", os.X_OK)
    old = (project.root / "out/b").stat().st_ino
    (project.root / "in/a.sh").chmod(0o644)
    assert moves(project) == "1 of 2 files, 10 B"
    assert not os.access(project.root / "out/a.sh", os.X_OK)
    assert (project.root / "out/b").stat().st_ino == old


def test_early_cut_off(project: Folder, lake: Lake) -> None:
    lake.write({"lake://in/a": b"a"})
    steps = """
        [move]
        kind = "transfer"
        inputs = { source = "lake://in/" }
        outputs = { target = "TARGET" }
        [read]
        command = "cat {inputs.x}/a > {outputs.y}"
        inputs = { x = "@move" }
        outputs = { y = "y" }
    """
    for target in ("raw/", "pond://out/"):
        project.steps(steps.replace("TARGET", target))
        assert project.build().done == ["move", "read"] or project.read("y") == "a"
        lake.write({"lake://in/a": b"a"})
        project.build()
        assert set(project.states().values()) == {"fresh"}
        (project.root / "raw/a").unlink(missing_ok=True)
        if target == "pond://out/":
            lake.fs.rm(lake.url("pond://out/a"))
        built = project.build()
        assert (built.done, built.spared) == (["move"], ["read"])


def test_from_the_web(project: Folder) -> None:
    body, tag = b"table", '"v1"'

    def answer(method: str, path: str, wanted: str) -> Answer:
        return Answer(200, body, {"ETag": tag, "Accept-Ranges": "bytes"}) if path == "/data/t.csv" else Answer(404)

    with web_server() as web:
        web.answer = answer
        transfer(project, f"{web.url}/data/t.csv", "t.csv")
        assert moves(project) == "1 of 1 files, 5 B"
        assert project.read("t.csv") == "table"
        assert project.build().started == []
        body, tag = b"tables", '"v2"'
        assert moves(project) == "1 of 1 files, 6 B"


def test_the_cache_goes_on_as_ever(project: Folder, lake: Lake) -> None:
    lake.write(at("lake://in/", SOME))
    transfer(project, "lake://in/", "lake://out/")
    moves(project)
    for command in (["cache", "verify"], ["cache", "gc"], ["cache", "stats"], ["data"], ["status"], ["show"]):
        done = project.cli(*command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert project.build().started == []


def test_sftp(project: Folder, tmp_path: Path) -> None:
    folder, files = tmp_path / "sshd", tmp_path / "files"
    folder.mkdir()
    with ssh_server(folder) as server:
        project.head = "[datastores.host]\n" + "\n".join(
            f'{key} = "{value}"' for key, value in {"url": server.url(files), **server.options}.items()
        )
        project.write(at("raw/", SOME))
        transfer(project, "raw/", "host://in/")
        assert moves(project) == "4 of 4 files, 12 B"
        assert below(files / "in") == SOME
        (files / "in/a.csv").write_bytes(b"changed")
        assert moves(project) == "1 of 4 files, 4 B"
        assert below(files / "in") == SOME
        transfer(project, "host://in/", "host://copy/")
        moves(project)
        assert below(files / "copy") == SOME
        assert project.build().started == []
