"""`fetch = "needed"`: outputs that only steps of the same host read stay there until somebody needs them here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from hosts import Door
from mlmake.home import Home
from mlmake.model.job import Entry
from mlmake.state.database import connect
from mlmake.state.digests import Digests
from mlmake.state.elsewhere import Away
from projects import Folder

PIPELINE = '''
    [make]
    command = """
        cp {inputs.raw} {outputs.table}
        mkdir -p {outputs.parts}/deep
        cp {inputs.raw} {outputs.parts}/deep/one
        echo 1 > {outputs.parts}/two
        chmod +x {outputs.parts}/two
        echo '{}' > {outputs.scores}
    """
    inputs = { raw = "data/raw.csv" }
    outputs = { table = "build/table.csv", parts = "build/parts/" }
    metrics = { scores = "build/scores.json" }
    compute = "box"

    [fit]
    command = """
        cat {inputs.table} {inputs.parts}/deep/one {inputs.parts}/two > {outputs.model}
        test -x {inputs.parts}/two
    """
    inputs = { table = "@make.table", parts = "@make.parts" }
    outputs = { model = "build/model.txt" }
    compute = "box"
'''
LOCAL = """
    [look]
    command = "wc -l < {inputs.table} > {outputs.lines}; ls {inputs.parts}/deep >> {outputs.lines}"
    inputs = { table = "@make.table", parts = "@make.parts" }
    outputs = { lines = "build/lines.txt" }
"""


@pytest.fixture
def far(far: Folder) -> Folder:
    """A project with a host that keeps what is not needed here, after its first build."""
    far.head += 'fetch = "needed"\n'
    far.write({"data/raw.csv": "a\nb\n"})
    far.steps(PIPELINE)
    assert far.build().done == ["make", "fit"]
    return far


def there(project: Folder) -> list[str]:
    return sorted(os.listdir(project.root / "build"))


def test_what_only_the_host_reads_stays_there(far: Folder) -> None:
    assert there(far) == ["model.txt", "scores.json"]
    assert far.read("build/model.txt") == "a\nb\na\nb\n1\n"
    assert far.states() == {"make": "fresh", "fit": "fresh"}
    assert far.build().done == []
    assert far.cli("status", "--check").returncode == 0


def test_what_stays_counts_by_its_content(far: Folder, root: Path) -> None:
    far.write({"data/raw.csv": "c\n"})
    assert far.build().done == ["make", "fit"]
    assert far.read("build/model.txt") == "c\nc\n1\n"
    far.steps(PIPELINE.replace("echo 1 >", "echo 1  >"))
    built = far.build()
    assert (built.done, built.spared) == (["make"], ["fit"])
    digests = Digests(connect(Home(str(far.root)), create=False))
    far.steps(PIPELINE + LOCAL)
    far.build()
    brought = {item.text: item.digest for item in far.record("p.make").outputs}  # type: ignore[union-attr]
    for text in ("build/table.csv", "build/parts/"):
        found = digests.of(str(far.root / text.rstrip("/")))
        assert found is not None
        assert found.digest == brought[text]


def test_what_is_needed_here_comes(far: Folder) -> None:
    far.steps(PIPELINE + LOCAL)
    built = far.build()
    assert built.done == ["look"]
    assert far.read("build/lines.txt") == "2\none\n"
    assert there(far) == ["lines.txt", "model.txt", "parts", "scores.json", "table.csv"]
    assert os.access(far.root / "build/parts/two", os.X_OK)
    assert set(far.states().values()) == {"fresh"}


def test_what_a_step_here_reads_comes_at_once(far: Folder) -> None:
    far.steps(PIPELINE + LOCAL)
    far.write({"data/raw.csv": "c\n"})
    assert set(far.build().done) == {"make", "fit", "look"}
    assert far.read("build/table.csv") == "c\n"


def test_an_old_output_here_gives_way_to_the_new_one_there(far: Folder) -> None:
    far.steps(PIPELINE + LOCAL)
    far.build()
    far.steps(PIPELINE)
    far.write({"data/raw.csv": "c\n"})
    assert far.build().done == ["make", "fit"]
    assert there(far) == ["lines.txt", "model.txt", "scores.json"]
    assert far.states() == {"make": "fresh", "fit": "fresh"}


def test_an_output_that_is_named_comes(far: Folder) -> None:
    far.build("build/model.txt")
    assert not (far.root / "build/table.csv").exists()
    assert far.cli("build/table.csv").returncode == 0
    assert far.read("build/table.csv") == "a\nb\n"
    assert far.build().done == []


def test_an_output_that_is_named_comes_after_status_has_looked_at_it(far: Folder) -> None:
    far.cli("status", "build/parts")
    assert far.cli("build/parts").returncode == 0
    assert far.read("build/parts/deep/one") == "a\nb\n"


def test_a_file_of_an_output_that_is_named_comes_with_all_of_it(far: Folder) -> None:
    far.build("build/parts/two")
    assert far.read("build/parts/two") == "1\n"


def test_what_is_there_as_a_past_run_left_it_is_not_missing(far: Folder) -> None:
    told = far.cli("restore", "1")
    assert (told.returncode, told.stdout) == (0, "run 1: 0 restored, 4 there already, 0 missing\n")


def test_what_the_host_has_lost_is_made_again(far: Folder, root: Path) -> None:
    shutil.rmtree(root / "objects")
    far.steps(PIPELINE.replace("test -x", "test  -x"))
    assert "the host has lost what an earlier step left there" in far.build().message("fit")
    assert far.build().done == ["make", "fit"]
    assert far.states() == {"make": "fresh", "fit": "fresh"}


def test_what_the_host_has_lost_cannot_come(far: Folder, root: Path) -> None:
    shutil.rmtree(root / "objects")
    far.steps(PIPELINE + LOCAL)
    assert "the host has lost what an earlier step left there" in far.build().message("look")
    assert far.build().done == ["make", "look"]


def test_clean_forgets_what_is_away(far: Folder) -> None:
    ran = far.cli("clean", "make")
    assert "removing build/table.csv, which is on box" in ran.stdout
    assert "3 removed" in ran.stdout
    assert far.states()["make"] == "stale"


def test_a_file_in_its_place_counts_before_what_is_away(far: Folder) -> None:
    far.write({"build/table.csv": "mine\n"})
    assert far.reasons("make") == ["output build/table.csv is not what the last run wrote"]


def test_a_target_that_is_named_no_more_has_nothing(far: Folder, box: Door, root: Path) -> None:
    far.head = far.head.replace("compute.box", "compute.other")
    far.steps(PIPELINE.replace('"box"', '"other"'))
    assert far.states()["make"] == "stale"
    assert far.build().done == ["make"]


def test_a_step_that_reads_a_part_has_it_made_again_and_brought(far: Folder) -> None:
    far.steps(
        PIPELINE + '[part]\ncommand = "cat {inputs.one} > {outputs.o}"\ninputs = { one = "build/parts/deep/one" }\n'
        'outputs = { o = "build/part.txt" }'
    )
    assert far.build().done == ["make", "part"]
    assert far.read("build/part.txt") == "a\nb\n"


def test_a_folders_digest_is_that_of_its_entries(tmp_path: Path) -> None:
    for name, text in {"b/c": "1", "b.c": "2", "a": "3", "b/d/e": "4", "é": "5"}.items():
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text(text)
    (tmp_path / "out" / "empty").mkdir()
    (tmp_path / "out" / "a").chmod(0o755)
    digests = Digests(connect(Home(str(tmp_path)), create=True))
    entries = [Entry("x/out/", 0, False, "")]
    for path in (tmp_path / "out").rglob("*"):
        inside = f"x/out/{path.relative_to(tmp_path / 'out')}"
        found = digests.of(str(path))
        assert found is not None
        file = Entry(inside, found.size, os.access(path, os.X_OK), found.digest)
        entries.append(file if path.is_file() else Entry(f"{inside}/", 0, False, ""))
    away = Away.of("/place", "box", entries)
    assert (away.digest, away.size) == digests.of(str(tmp_path / "out"))


def test_what_several_steps_need_comes_once(far: Folder) -> None:
    copies = LOCAL.replace("[look]", "[look]\nmatrix = { n = [1, 2, 3, 4] }").replace(
        "lines.txt", "lines-{matrix.n}.txt"
    )
    far.steps(PIPELINE + copies)
    assert len(far.build().done) == 4
    assert [far.read(f"build/lines-{n}.txt") for n in (1, 2, 3, 4)] == 4 * ["2\none\n"]
    assert os.listdir(far.root / ".mlmake/staging") == []
