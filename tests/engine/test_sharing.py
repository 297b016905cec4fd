"""Builds that share a cache: nothing is computed twice, and whatever happens to the store, what was built stands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.model.events import Event, Noticed, Pushing, StepFinished
from mlmake.state.database import connect
from mlmake.state.shared import Shared
from mlmake.stores.patience import EAGER
from projects import PATIENCE, Built, Folder, until
from servers import S3Server, s3_server

CHAIN = """
    [first]
    command = "echo first >> ../ran; echo {params.word} | cut -c 1 > {outputs.x}"
    params = ["word"]
    outputs = { x = "build/x" }
    [second]
    command = "echo second >> ../ran; cat {inputs.x} {inputs.x} > {outputs.y}"
    inputs = { x = "@first" }
    outputs = { y = "build/y" }
    [third]
    command = "echo third >> ../ran; mkdir {outputs.z}deep; cat {inputs.y} | tee {outputs.z}all > {outputs.z}deep/all"
    inputs = { y = "@second" }
    outputs = { z = "build/z/" }
"""
WIDE = """
    [s]
    command = "echo {matrix.n} >> ../ran; seq {matrix.n}000 {matrix.n}500 > {outputs.x}"
    matrix = { n = [%s] }
    outputs = { x = "build/{matrix.n}" }
"""
WORD = {"word": "hello"}


class Team:
    """Clones of one project side by side, with a store that they share."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.header = f'[cache]\nremote = "file://{self.store}"\n'
        self.clones: list[Folder] = []

    def on(self, server: S3Server) -> str:
        """Share through S3; gives the bucket's url."""
        url = server.bucket()
        self.header = (
            f'[datastores]\nlake = {{ url = "{url}/team", endpoint_url = "{server.endpoint}",\n'
            'key = "${env:LAKE_KEY}", secret = "${env:LAKE_SECRET}" }\n[cache]\nremote = "lake://cache"\n'
        )
        return f"{url}/team/cache"

    def clone(self, text: str, more: str = "", **params: object) -> Folder:
        root = self.folder / f"clone{len(self.clones)}"
        root.mkdir()
        folder = Folder(root.resolve())
        folder.steps(f"{self.header}{more}\n{text}", **params)
        self.clones.append(folder)
        return folder

    def ran(self) -> list[str]:
        """The steps that really ran since the last look, in any clone."""
        path = self.folder / "ran"
        found = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return found

    def kept(self, what: str) -> list[Path]:
        return sorted(path for path in (self.store / what).rglob("*") if path.is_file())


@pytest.fixture
def team(tmp_path: Path) -> Iterator[Team]:
    team = Team(tmp_path.resolve())
    yield team
    for clone in team.clones:
        clone.close()


@pytest.fixture
def own_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that a test may end."""
    known(monkeypatch)
    with s3_server() as server:
        yield server


@pytest.fixture
def known_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server that all share, with the secrets for it; a test may hold it up."""
    known(monkeypatch)
    return s3


@pytest.fixture(params=["file", "s3"])
def any_team(request: pytest.FixtureRequest, team: Team, monkeypatch: pytest.MonkeyPatch) -> Team:
    if request.param == "s3":
        known(monkeypatch)
        team.on(request.getfixturevalue("s3"))
    return team


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between two tries."""
    monkeypatch.setattr("mlmake.engine.sharing.Patience", lambda sleep: EAGER)


def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAKE_KEY", S3Server.KEY)
    monkeypatch.setenv("LAKE_SECRET", S3Server.SECRET)


def noticed(built: Built) -> list[str]:
    return [event.text for event in built.of(Noticed)]


def owed(folder: Folder) -> int:
    connection = connect(folder.home, create=False)
    try:
        return int(connection.execute("SELECT count(*) FROM actions WHERE owed").fetchone()[0])
    finally:
        connection.close()


def contents(folder: Folder) -> dict[str, bytes]:
    top = folder.root / "build"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


# What one has computed.


def test_the_second_clone_computes_nothing(any_team: Team) -> None:
    one, two = (any_team.clone(CHAIN, **WORD) for _ in range(2))
    assert one.build().done == ["first", "second", "third"]
    any_team.ran()
    built = two.build()
    assert (built.done, built.restored, noticed(built)) == ([], ["first", "second", "third"], [])
    assert any_team.ran() == []
    assert contents(one) == contents(two)
    assert two.build().events[-1] != built.events[-1]
    assert two.cli("status", "--check").returncode == 0


def test_a_value_that_another_has_tried(team: Team) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    for folder in (one, two):
        folder.build()
    one.build(overrides=("word=bye",))
    team.ran()
    assert two.build(overrides=("word=bye",)).restored == ["first", "second", "third"]
    assert two.build(overrides=("word=both",)).done == ["first"], "its bytes are those of before"
    assert one.build(overrides=("word=both",)).restored == ["first"]
    assert team.ran() == ["first"]


def test_what_was_pulled_is_kept_here_too(team: Team) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    one.build()
    two.build()
    shutil.rmtree(team.store)
    shutil.rmtree(two.root / "build")
    assert two.build().restored == ["first", "second", "third"]


def test_who_only_reads_pushes_nothing(team: Team) -> None:
    one, two = team.clone(CHAIN, **WORD), team.clone(CHAIN, 'mode = "read"', **WORD)
    one.build()
    before = team.kept("actions")
    built = two.build(overrides=("word=new",))
    assert built.done == ["first", "second", "third"]
    assert team.kept("actions") == before
    assert owed(two) == 0
    assert two.build().restored == ["first", "second", "third"]


def test_who_only_writes_is_given_nothing(team: Team) -> None:
    one, two = (team.clone(CHAIN, 'mode = "write"', **WORD) for _ in range(2))
    one.build()
    assert len(team.kept("actions")) == 3
    assert two.build().done == ["first", "second", "third"]


def test_a_cache_that_is_off_shares_nothing(team: Team) -> None:
    one = team.clone(CHAIN, "enabled = false", **WORD)
    one.build()
    assert not team.store.exists()


def test_a_forced_step_runs(team: Team) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    one.build()
    assert two.build("first", force=True).done == ["first"]


def test_what_is_not_kept_is_not_shared(team: Team) -> None:
    one, two = (team.clone(CHAIN.replace("[second]", "[second]\ncache = false"), **WORD) for _ in range(2))
    one.build()
    built = two.build()
    assert (built.done, built.restored) == (["second"], ["first", "third"])


# What is wrong there.


def test_a_damaged_object_is_told_by_name_and_mended(team: Team) -> None:
    one, two, three = (team.clone(CHAIN, **WORD) for _ in range(3))
    one.build()
    spoilt = [path for path in team.kept("files") if path.read_bytes() == b"h\n"]
    for path in spoilt:
        path.chmod(0o644)
        path.write_bytes(b"x\n")
    name = "/".join(spoilt[0].parts[-3:])
    built = two.build()
    assert (built.done, built.restored) == (["first"], ["second", "third"])
    (told,) = noticed(built)
    assert told == (
        f"p.first cannot be restored from the shared cache file://{team.store}: "
        f"{name} holds other bytes than its record names; the step runs"
    )
    assert spoilt[0].read_bytes() == b"h\n"
    assert three.build().restored == ["first", "second", "third"]


def test_an_object_that_is_gone_is_told_by_name_and_sent_anew(team: Team) -> None:
    one, two, three = (team.clone(CHAIN, **WORD) for _ in range(3))
    one.build()
    shutil.rmtree(team.store / "folders")
    built = two.build()
    assert (built.done, built.restored) == (["third"], ["first", "second"])
    (told,) = noticed(built)
    assert re.search(r"p\.third cannot be restored .*: folders/.* is gone; the step runs", told)
    assert three.build().restored == ["first", "second", "third"]


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff" * 100])
def test_a_record_that_cannot_be_read_is_told_and_written_anew(text: bytes, team: Team) -> None:
    one, two, three = (team.clone(CHAIN, **WORD) for _ in range(3))
    one.build()
    for path in team.kept("actions"):
        path.write_bytes(text)
    built = two.build()
    assert built.done == ["first", "second", "third"]
    assert len(noticed(built)) == 3
    assert all(": actions/" in told and "cannot be read" in told for told in noticed(built))
    assert three.build().restored == ["first", "second", "third"]


def test_a_record_with_outputs_of_others_restores_nothing(team: Team) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    one.build()
    for path in team.kept("actions"):
        path.write_text(path.read_text().replace('"outputs": [["x"', '"outputs": [["q"'))
    built = two.build()
    assert (built.done, built.restored) == (["first"], ["second", "third"])


# Trouble on the way.


def test_a_store_that_goes_away_in_mid_build(team: Team, own_s3: S3Server, hasty: None) -> None:
    team.on(own_s3)
    one = team.clone(CHAIN.replace("echo second", f"kill -9 {server_of(own_s3).pid}; echo second"), "", word="hello")
    built = one.build()
    assert built.done == ["first", "second", "third"]
    assert built.summary.failed == 0
    (told,) = (text for text in noticed(built) if "cannot" in text)
    assert re.search(r"cannot (read|write) the shared cache lake://cache: .*; this build goes on without it", told)
    assert owed(one) >= 2
    assert contents(one)["y"] == b"h\nh\n"


def test_a_store_that_was_never_there(team: Team, hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    with s3_server() as server:
        team.on(server)
    one = team.clone(CHAIN, **WORD)
    built = one.build()
    assert built.done == ["first", "second", "third"]
    assert len(noticed(built)) == 1
    assert owed(one) == 3


def test_a_variable_that_is_not_set(team: Team, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    team.on(s3)
    monkeypatch.delenv("LAKE_KEY", raising=False)
    monkeypatch.setenv("LAKE_SECRET", S3Server.SECRET)
    one = team.clone(CHAIN, **WORD)
    built = one.build()
    assert built.done == ["first", "second", "third"]
    (told,) = noticed(built)
    assert "cannot open the shared cache lake://cache" in told
    assert "LAKE_KEY, which is not set" in told


def test_who_may_not_write_still_reads(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    one.build()
    monkeypatch.setattr(Shared, "push", _denied)
    built = two.build(overrides=("word=help",))
    assert (built.done, built.restored) == (["first"], ["second", "third"])
    assert "cannot write" in noticed(built)[0]
    assert noticed(built)[0].endswith("this build goes on without writing to it")


def _denied(*_: object) -> None:
    raise PermissionError(13, "Permission denied", "store")


@pytest.mark.parametrize("method", ["push", "find", "pull"])
def test_a_bug_in_a_thread_ends_no_build(method: str, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    one.build()

    def bug(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Shared, method, bug)
    folder = one if method == "push" else two
    built = folder.build(overrides=("word=" + ("new" if method == "push" else "hello"),))
    assert built.done == ["first", "second", "third"]
    (told,) = noticed(built)
    assert "ZeroDivisionError: a bug" in told


def test_what_is_damaged_here_is_told_and_owed_no_more(team: Team) -> None:
    one = team.clone(CHAIN, **WORD)
    one.toml(one.read("pipelines.toml").replace(str(team.store), "/proc/no/such/place"))
    one.build()
    assert owed(one) == 3
    one.toml(one.read("pipelines.toml").replace("/proc/no/such/place", str(team.store)))
    objects = [path for path in (one.root / ".mlmake/cache/files").rglob("*") if path.is_file()]
    for path in objects:
        if path.read_bytes() == b"h\n":
            path.chmod(0o644)
            path.write_bytes(b"x\n")
    built = one.build("first", overrides=("word=new",))
    assert [text for text in noticed(built) if text.startswith("what p.first wrote is not sent")]
    assert owed(one) == 0
    assert len(team.kept("actions")) == 3


# Killed, interrupted, at once.


def server_of(server: S3Server) -> psutil.Process:
    """The process of a server of ours."""
    port = int(server.endpoint.rpartition(":")[2])
    return next(
        child
        for child in psutil.Process().children(recursive=True)
        if any(each.laddr.port == port for each in child.net_connections() if each.status == psutil.CONN_LISTEN)
    )


@contextmanager
def held_up(server: S3Server) -> Iterator[None]:
    """The server answers nobody for as long as the block lasts."""
    process = server_of(server)
    process.suspend()
    try:
        yield
    finally:
        process.resume()


def records(url: str, server: S3Server) -> int:
    import s3fs

    return len(s3fs.S3FileSystem(**server.options, skip_instance_cache=True).find(f"{url}/actions"))


def many(count: int) -> str:
    return WIDE % ", ".join(map(str, range(1, count + 1)))


def is_pushing(process: subprocess.Popen[str], folder: Folder, count: int) -> Callable[[], bool]:
    """Whether all steps have ended and the build has not."""
    return lambda: len(folder.recorded()) == count and process.poll() is None


def test_killed_while_pushing(team: Team, known_s3: S3Server) -> None:
    url = team.on(known_s3)
    gated = many(24).replace("seq", "until [ {matrix.n} -lt 13 ] || [ -e ../gate ]; do sleep 0.02; done; seq")
    one, two = team.clone(gated, 'mode = "write"'), team.clone(gated)
    process = one.start("-j", "2")
    until(lambda: records(url, known_s3) >= 2, "the first records")
    with held_up(known_s3):
        (team.folder / "gate").touch()
        until(is_pushing(process, one, 24), "the end of the steps")
        process.kill()
        process.wait()
    team.ran()
    assert 2 <= records(url, known_s3) < 24
    assert owed(one) >= 24 - records(url, known_s3)
    done = one.cli()
    assert done.returncode == 0
    assert "0 ran, 24 fresh" in done.stdout
    assert records(url, known_s3) == 24
    assert owed(one) == 0
    assert not list((one.root / ".mlmake/cache/incoming").glob("*"))
    assert "0 ran, 0 fresh, 24 restored" in two.cli().stdout
    assert team.ran() == []


def test_interrupted_while_pushing(team: Team, known_s3: S3Server) -> None:
    url = team.on(known_s3)
    one = team.clone(many(6), 'mode = "write"')
    with held_up(known_s3):
        process = one.start()
        until(is_pushing(process, one, 6), "the end of the steps")
        os.kill(process.pid, signal.SIGINT)
        until(lambda: process.poll() is not None, "the end of the build")
        assert process.stdout is not None
        assert "not in the shared cache yet: 6 results" in process.stdout.read()
    assert process.returncode == 130
    assert records(url, known_s3) == 0
    assert owed(one) == 6
    pushed = one.cli("cache", "push")
    assert pushed.stdout.startswith("pushed 6 results, 6 objects, ")
    assert records(url, known_s3) == 6
    assert owed(one) == 0


def test_interrupted_while_looking(team: Team, known_s3: S3Server) -> None:
    team.on(known_s3)
    one = team.clone(many(40))
    with held_up(known_s3):
        process = one.start()
        until(lambda: connected(process, known_s3), "a question")
        os.kill(process.pid, signal.SIGINT)
        until(lambda: process.poll() is not None, "the end of the build")
    assert process.returncode == 130
    assert team.ran() == []


def connected(process: subprocess.Popen[str], server: S3Server) -> bool:
    port = int(server.endpoint.rpartition(":")[2])
    return any(each.raddr and each.raddr.port == port for each in psutil.Process(process.pid).net_connections())


def test_two_at_once(any_team: Team) -> None:
    clones = [any_team.clone(many(20)) for _ in range(2)]
    processes = [clone.start("-j", "2") for clone in clones]
    for process in processes:
        out, _ = process.communicate(timeout=4 * PATIENCE)
        assert process.returncode == 0, out
        assert "0 failed" in out
        assert "shared cache" not in out
    any_team.ran()
    built = any_team.clone(many(20)).build()
    assert len(built.restored) == 20
    assert noticed(built) == []
    assert [owed(clone) for clone in clones] == [0, 0]


def test_the_end_tells_how_much_is_on_its_way(team: Team) -> None:
    told: list[Event] = []
    team.clone(CHAIN, **WORD).build(sink=told.append)
    last = max(number for number, event in enumerate(told) if isinstance(event, StepFinished))
    assert all(event.left >= 0 for event in told[last:] if isinstance(event, Pushing))


# No secret is written.


def test_no_secret_is_written(team: Team, s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    team.on(s3)
    one, two = (team.clone(CHAIN, **WORD) for _ in range(2))
    said = [one.cli("build", "--verbose")]
    said += [one.cli("cache", *words) for words in (["push"], ["push", "--json"], ["stats", "--json"], ["pull"])]
    said += [two.cli("cache", "pull", "--json"), two.cli(), two.cli("status", "--json"), two.cli("why", "first")]
    monkeypatch.setenv("LAKE_SECRET", "another-secret-1b7d")
    two.toml(two.read("pipelines.toml").replace("/team", "/no/../t%"))
    said += [two.cli("cache", "push"), two.cli("-p", "word=new")]
    for each in said:
        assert_silent((each.stdout + each.stderr).encode())
    for clone in (one, two):
        for path in clone.root.rglob("*"):
            if path.is_file():
                assert_silent(path.read_bytes())


def assert_silent(text: bytes) -> None:
    for secret in (S3Server.SECRET, S3Server.KEY, "another-secret-1b7d"):
        assert secret.encode() not in text
