"""The state file: made once, shared by processes, and told as unusable where it is, never silently replaced."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmake.errors import StateError
from mlmake.home import Home
from mlmake.state.database import VERSION, connect, explained, transaction
from mlmake.state.records import Records
from mlmake.state.runs import Runs
from projects import Folder

STEPS = """
    [one]
    command = "cat {inputs.a} > {outputs.x}; echo one >> ../ran"
    inputs = { a = "a.txt" }
    outputs = { x = "build/one" }
    [two]
    command = "cat {inputs.a} > {outputs.x}; echo two >> ../ran"
    inputs = { a = "@one" }
    outputs = { x = "build/two" }
    [three]
    command = "python lib.py > {outputs.x}; echo three >> ../ran"
    outputs = { x = "build/three" }
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(str(tmp_path))


@pytest.fixture
def built(project: Folder) -> Folder:
    """A project in which everything is built."""
    project.steps(STEPS)
    project.write({"a.txt": "a", "lib.py": "import other\n", "other.py": "print(1)\n"})
    assert project.build().done
    return project


# Making and opening.


def test_a_missing_state_reads_as_an_empty_one_and_is_not_made(home: Home) -> None:
    connection = connect(home, create=False)
    assert Records(connection).get("p.x") is None
    assert Runs(connection).last(5) == []
    assert not os.path.exists(home.folder)


def test_the_state_is_made_once_and_keeps_what_it_holds(home: Home) -> None:
    connection = connect(home, create=True)
    with transaction(connection):
        connection.execute("INSERT INTO imports VALUES ('d', '[]')")
    connection.close()
    for create in (True, False):
        connection = connect(home, create=create)
        assert connection.execute("SELECT * FROM imports").fetchall() == [("d", "[]")]
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        connection.close()


def test_the_states_folder_is_ignored_by_git(home: Home) -> None:
    connect(home, create=True).close()
    assert Path(home.folder, ".gitignore").read_text() == "*\n"


def test_a_transaction_is_all_or_nothing(home: Home) -> None:
    connection = connect(home, create=True)
    with pytest.raises(KeyboardInterrupt), transaction(connection):
        connection.execute("INSERT INTO imports VALUES ('d', '[]')")
        raise KeyboardInterrupt
    assert connection.execute("SELECT * FROM imports").fetchall() == []
    assert not connection.in_transaction


def test_a_look_does_not_wait_for_a_writer(home: Home) -> None:
    writer = connect(home, create=True)
    with transaction(writer):
        writer.execute("INSERT INTO imports VALUES ('d', '[]')")
        reader = connect(home, create=False)
        reader.execute("PRAGMA busy_timeout = 0")
        assert reader.execute("SELECT * FROM imports").fetchall() == []
        assert Records(reader).get("p.x") is None
    assert reader.execute("SELECT * FROM imports").fetchall() == [("d", "[]")]


def test_a_state_that_is_just_being_made_reads_as_an_empty_one(home: Home) -> None:
    home.ensure()
    Path(home.database).touch()
    assert Records(connect(home, create=False)).get("p.x") is None
    created = connect(home, create=True)
    assert Records(created).get("p.x") is None
    assert created.execute("SELECT count(*) FROM runs").fetchone() == (0,)


@pytest.mark.parametrize("left", [b"", "journal mode"])
def test_a_build_that_died_while_it_made_the_state_leaves_no_trouble(home: Home, left: bytes | str) -> None:
    home.ensure()
    if left == "journal mode":
        connection = sqlite3.connect(home.database)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
    else:
        Path(home.database).touch()
    connection = connect(home, create=True)
    assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert Records(connection).get("p.x") is None


# Several processes.

WRITER = """
import sys
from mlmake.home import Home
from mlmake.model.run import Item, Record
from mlmake.state.database import connect, transaction
from mlmake.state.records import Records
root, who = sys.argv[1:]
connection = connect(Home(root), create=True)
records = Records(connection)
for number in range(100):
    with transaction(connection):
        records.put(Record(step=f"p.{who}-{number}", run=number, facts={"who": who}, inputs={},
                           outputs=(Item("x", "d", 1),), finished=1.0, seconds=0.5))
        connection.execute("INSERT OR REPLACE INTO digests VALUES ('shared', ?, 0, 0, 0, 0, ?)", (number, who))
"""


def test_processes_that_make_and_write_the_state_at_once_lose_nothing(home: Home) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, home.root, who], stderr=subprocess.PIPE, text=True)
        for who in "abcd"
    ]
    for writer in writers:
        _, error = writer.communicate()
        assert writer.returncode == 0, error
    connection = connect(home, create=False)
    records = Records(connection)
    for who in "abcd":
        for number in range(100):
            record = records.get(f"p.{who}-{number}")
            assert record is not None
            assert (record.run, record.facts) == (number, {"who": who})
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_writer_that_is_killed_tears_nothing(home: Home) -> None:
    connect(home, create=True).close()
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, home.root, "a"])
        connection = connect(home, create=False)
        before = connection.execute("SELECT count(*) FROM records").fetchone()
        while connection.execute("SELECT count(*) FROM records").fetchone() == before and writer.poll() is None:
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        records = Records(connection)
        steps = [step for (step,) in connection.execute("SELECT step FROM records")]
        assert all(records.get(step) is not None for step in steps)
        connection.execute("DELETE FROM records")
        connection.close()


# States that cannot be used.


def newer(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {VERSION + 1}")
    connection.close()


def noise(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(20_000))


def text(path: Path) -> None:
    path.write_text("<<<<<<< HEAD\n" * 1000)


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def beheaded(path: Path) -> None:
    os.truncate(path, 50)


def cut_to_its_first_page(path: Path) -> None:
    os.truncate(path, 4096)


def cut_in_the_middle(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def cut_by_one_page(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def zeroed_behind_the_first_page(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:4096] + bytes(path.stat().st_size - 4096))


def broken_header(path: Path) -> None:
    path.write_bytes(b"X" + path.read_bytes()[1:])


def no_tables(path: Path) -> None:
    path.unlink()
    write(path, f"PRAGMA user_version = {VERSION}")
    write(path, "PRAGMA journal_mode = WAL")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def odd_record(path: Path) -> None:
    write(path, "UPDATE records SET facts = replace(facts, ':', ';')")


def odd_numbers(path: Path) -> None:
    write(path, "UPDATE records SET run = 'three'")


def odd_shape(path: Path) -> None:
    write(path, "UPDATE records SET facts = '[]', inputs = '3', outputs = '{}'")


def odd_imports(path: Path) -> None:
    write(path, "UPDATE imports SET names = '['")


def write(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(statement)
    connection.close()


DAMAGES: list[Callable[[Path], None]] = [
    *(noise, text, emptied, beheaded, cut_to_its_first_page, cut_in_the_middle, cut_by_one_page),
    *(zeroed_behind_the_first_page, broken_header, no_tables, odd_record, odd_numbers, odd_shape, odd_imports),
]


@pytest.mark.parametrize("damage", [newer, folder, *DAMAGES], ids=lambda each: each.__name__)
def test_a_state_that_cannot_be_used_is_told_with_the_next_move(built: Folder, damage: Callable[[Path], None]) -> None:
    path = Path(built.home.database)
    settled(path)
    damage(path)
    before = None if path.is_dir() else path.read_bytes()
    built.write({"a.txt": "b"})
    for command in (["status"], ["build"], ["build", "-n"]):
        result = built.cli(*command)
        assert result.returncode == 2, (command, result.stdout, result.stderr)
        lines = result.stderr.splitlines()
        assert lines[0].startswith(f"mlmake: {path} "), result.stderr
        assert len(lines) == 2
        assert "Traceback" not in result.stderr + result.stdout
        if damage in DAMAGES:
            assert "is damaged" in lines[0]
            assert "mv .mlmake/state.db .mlmake/state.db.damaged" in lines[1]
        elif damage is newer:
            assert "newer mlmake" in lines[0]
    assert built.log("../ran").count("one") == 1
    if before is not None:
        assert path.read_bytes() == before


@pytest.mark.parametrize("damage", DAMAGES[:4], ids=lambda each: each.__name__)
def test_the_next_move_helps(built: Folder, damage: Callable[[Path], None]) -> None:
    path = Path(built.home.database)
    settled(path)
    damage(path)
    path.rename(f"{path}.damaged")
    status = built.cli("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert "3 stale" in status.stdout
    assert sorted(built.build().done) == ["one", "three", "two"]
    assert built.build().done == []


def test_the_next_move_helps_after_a_kill_too(built: Folder) -> None:
    # A build that was killed leaves a log of writes beside the file; it must not be played onto a new one.
    path = Path(built.home.database)
    copy = {each: Path(f"{path}{each}").read_bytes() for each in unsettled(built, path)}
    assert "-wal" in copy
    for each, content in copy.items():
        Path(f"{path}{each}").write_bytes(content)
    path.unlink()
    assert sorted(built.build().done) == ["one", "three", "two"]
    assert set(built.states().values()) == {"fresh"}
    connection = connect(built.home, create=False)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def settled(path: Path) -> None:
    """All that was written stands in the file itself."""
    write(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    assert not Path(f"{path}-wal").exists()


def unsettled(built: Folder, path: Path) -> list[str]:
    connection = connect(built.home, create=False)
    connection.execute("UPDATE runs SET command = 'again'")
    found = [each for each in ("-wal", "-shm") if Path(f"{path}{each}").exists()]
    for each in found:
        shutil.copy(f"{path}{each}", f"{path}{each}.copy")
    connection.close()
    for each in found:
        os.replace(f"{path}{each}.copy", f"{path}{each}")
    return found


def test_flipped_bits_give_an_error_or_a_rerun_but_never_a_crash_or_all_anew(built: Folder) -> None:
    path = Path(built.home.database)
    settled(path)
    good = path.read_bytes()
    assert set(built.states().values()) == {"fresh"}
    chance = random.Random(7)
    told = 0
    for _ in range(200):
        content = bytearray(good)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink(missing_ok=True)
        path.write_bytes(content)
        try:
            with explained(built.home):
                states = built.states()
            assert set(states.values()) != {"stale"}, states
        except StateError as error:
            assert error.hint
            told += 1
    assert told


def test_flipped_bits_in_what_is_shown_give_an_error_and_no_crash(built: Folder) -> None:
    path = Path(built.home.database)
    settled(path)
    good = path.read_bytes()
    chance = random.Random(3)
    for _ in range(150):
        content = bytearray(good)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink(missing_ok=True)
        path.write_bytes(content)
        try:
            with explained(built.home):
                connection = connect(built.home, create=False)
                runs, records = Runs(connection), Records(connection)
                for run in runs.last(9):
                    runs.get(run.number)
                    for step_run in runs.steps_of(run.number):
                        runs.last_of(step_run.step)
                runs.good_until(1)
                for (digest,) in connection.execute("SELECT digest FROM texts"):
                    records.text(digest)
        except StateError as error:
            assert error.hint


def test_a_look_at_a_project_that_may_not_be_written_works_or_is_told(built: Folder) -> None:
    settled(Path(built.home.database))
    result = unprivileged(built, "status")
    assert "Traceback" not in result.stderr
    assert (result.returncode, result.stderr) == (0, "") or (result.returncode, "rights" in result.stderr) == (2, True)


def test_a_state_file_that_may_not_be_written_is_told(built: Folder) -> None:
    built.write({"a.txt": "b"})
    path = Path(built.home.database)
    settled(path)
    os.chmod(built.home.folder, 0o777)
    os.chmod(built.home.lock, 0o666)
    for each in (path, *Path(built.home.folder).glob("state.db-*")):
        each.chmod(0o444)
    result = unprivileged(built, "build")
    assert result.returncode == 2, result.stderr
    assert result.stderr.startswith(f"mlmake: {path} cannot be used: "), result.stderr
    assert "look at its rights" in result.stderr
    assert "Traceback" not in result.stderr
    assert built.log("../ran").count("one") == 1


def unprivileged(built: Folder, *command: str) -> subprocess.CompletedProcess[str]:
    """Run mlmake as a user who owns nothing of the project (as ourselves, unless we are root)."""
    # Not every user can read our Python, so all that is needed is loaded before the rights are dropped.
    script = """
import os, sys
from mlmake.cli import main
root, warm, *command = sys.argv[1:]
assert main.run(["-C", warm, "build"]) == main.run(["-C", warm, "status"]) == 0
assert main.run(["-C", warm, "build", "missing"]) == 2
sys.stdout.flush(), print("-----", file=sys.stderr)
if os.geteuid() == 0:
    os.setegid(65534), os.seteuid(65534)
sys.exit(main.run(["-C", root, *command]))
"""
    warm = Folder(built.root.parent / "warm")
    warm.steps("""
        [one]
        command = "echo"
        [two]
        script = "x.py"
    """)
    warm.write({"x.py": ""})
    for each in (built.root, *built.root.parents):
        if os.stat(each).st_uid == os.geteuid() and each != Path("/"):
            os.chmod(each, 0o755)
    words = [sys.executable, "-c", script, str(built.root), str(warm.root), *command]
    result = subprocess.run(words, capture_output=True, text=True, check=False)
    result.stderr = result.stderr.partition("-----\n")[2]
    return result


def test_an_error_of_sqlite_names_the_file(home: Home) -> None:
    connection = connect(home, create=True)
    with pytest.raises(StateError, match=r"state\.db is damaged: no such table") as caught, explained(home):
        connection.execute("SELECT * FROM missing")
    assert caught.value.exit_code == 2
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(StateError, match=r"state\.db cannot be used") as caught, explained(home):
        connection.execute("DELETE FROM records")
    assert "rights" in caught.value.hint


def test_no_transaction_stays_open_after_an_error(home: Home) -> None:
    connection = connect(home, create=True)
    with pytest.raises(sqlite3.OperationalError), transaction(connection):
        connection.execute("INSERT INTO missing VALUES (1)")
    with transaction(connection):
        connection.execute("INSERT INTO imports VALUES ('d', '[]')")
    assert connection.execute("SELECT count(*) FROM imports").fetchone() == (1,)


def test_a_file_that_is_being_made_is_not_taken_for_a_damaged_one(
    project: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables and the first log appear between a reader's look at the one and at the other."""
    home = project.home
    home.ensure()
    Path(home.database).touch()
    logs = os.path.join(home.folder, "logs")
    exists = os.path.exists

    def meanwhile(path: str) -> bool:
        if path == logs:
            monkeypatch.setattr("os.path.exists", exists)
            connect(home, create=True).close()
            os.mkdir(logs)
        return exists(path)

    monkeypatch.setattr("os.path.exists", meanwhile)
    connection = connect(home, create=False)
    assert connection.execute("SELECT count(*) FROM runs").fetchone() == (0,)
    connection.close()
