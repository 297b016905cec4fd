"""One suite over every way to a host: what `executors/base.py` promises of jobs elsewhere. Add yours to `WAYS`."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from hosts import Boxed, Door, Site, pythons
from mlmake.model.job import Cargo, Finished, Job, Shipment
from mlmake.transports.agent import files
from mlmake.transports.base import Transport
from mlmake.transports.local import Local
from projects import PATIENCE, kill, until
from servers import lack

FOREVER = "while :; do sleep 0.05; done"
LARGE = (1 << 30) if os.environ.get("MLMAKE_LARGE") else (256 << 20)
"""Bytes of a large file: a gigabyte where MLMAKE_LARGE is set."""


def _local(folder: Path, _: pytest.FixtureRequest) -> Transport:
    return Local(str(folder / "root"))


def _old(folder: Path, _: pytest.FixtureRequest) -> Transport:
    found = pythons("3.8")
    if not found:
        pytest.skip("there is no Python 3.8 here")
    return Local(str(folder / "root"), python=found[0])


def _ssh(folder: Path, request: pytest.FixtureRequest) -> Transport:
    box: Door = request.getfixturevalue("box")
    return box.ssh(folder / "root")


def _plain(way: Callable[[Path, pytest.FixtureRequest], Transport]) -> Callable[[Path, pytest.FixtureRequest], Site]:
    return lambda folder, request: Site(way(folder, request), folder)


def _boxed(way: Callable[[Path, pytest.FixtureRequest], Transport]) -> Callable[[Path, pytest.FixtureRequest], Site]:
    return lambda folder, request: Boxed(way(folder, request), folder, engine=request.getfixturevalue("engine"))


WAYS: dict[str, Callable[[Path, pytest.FixtureRequest], Site]] = {
    "local": _plain(_local),
    "local, Python 3.8": _plain(_old),
    "ssh": _plain(_ssh),
    "docker": _boxed(_local),
    "docker over ssh": _boxed(_ssh),
}
CONTENTS = "contents go to the engine's machine and come back as to and from every host, whatever runs between"
BEFORE = "it ends before there is a container"
ALIKE = "the way to the engine's machine has no part in it but to carry what every host is told and tells"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test that has a site runs over every way, but for what a marker leaves out, which tells why."""
    if "site" in metafunc.fixturenames:
        left_out = {"not_boxed": ("docker", "docker over ssh"), "boxed_here": ("docker over ssh",)}
        without = [way for marker in metafunc.definition.iter_markers() for way in left_out.get(marker.name, ())]
        metafunc.parametrize("site", [way for way in WAYS if way not in without], indirect=True)


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    made = WAYS[request.param](tmp_path, request)
    yield made
    made.close()
    until(lambda: not made.alive(), "the end of all jobs")


# How jobs end


def ends(site: Site, jobs: Sequence[Job]) -> list[Finished]:
    """How jobs end that run at once."""
    handles = [site.executor.submit(job) for job in jobs]
    told: dict[str, Finished] = {}
    while len(told) < len(handles):
        told |= {each.handle: each for each in site.executor.wait(handles, PATIENCE)}
    return [told[handle] for handle in handles]


def test_exit_codes(site: Site) -> None:
    codes = (0, 1, 3, 127, 255)
    told = ends(site, [site.job(f"exit {code}") for code in codes])
    assert [(each.exit_code, each.problem, each.is_lost) for each in told] == [(code, "", False) for code in codes]


def test_the_code_of_a_signal(site: Site) -> None:
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    told = ends(site, [site.job(f"kill -{number.value} $$; sleep 60") for number in numbers])
    assert [each.exit_code for each in told] == [site.signalled(number) for number in numbers]


def test_what_cannot_start_says_so(site: Site) -> None:
    told = site.run(site.job("", argv=("/nowhere/to/be/found",)))
    assert told.problem in (
        "cannot start /nowhere/to/be/found: No such file or directory",
        "the image has no program /nowhere/to/be/found, or not the interpreter that it names",
    )
    told = site.run(site.job("", argv=("/bin/echo", "a\0b")))
    assert "null byte" in told.problem


@pytest.mark.boxed_here(ALIKE)
def test_a_job_finds_what_it_should(site: Site) -> None:
    job = site.job('printf "%s|" "$ODD" "$1" "$(pwd)"; cat', argv=(), env={"ODD": "a 'b'\n\"größe\""})
    job = replace(job, argv=(*job.argv, "sh", "-x\n*"))
    assert site.run(job).exit_code == 0
    said = site.log(job)
    assert said == b"a 'b'\n\"gr\xc3\xb6\xc3\x9fe\"|-x\n*|" + f"{site.tree(job)}|".encode()


@pytest.mark.boxed_here(ALIKE)
def test_what_is_no_text_arrives_or_is_refused(site: Site) -> None:
    jobs = [site.job('printf %s "$X"', env={"X": "\udcff"}), site.job("", argv=("printf", "%s", "\udcff"))]
    for job in jobs:
        if site.executor.traits.containers:
            with pytest.raises(OSError, match="takes UTF-8 only"):
                site.executor.submit(job)
        else:
            site.run(job)
            assert site.log(job) == b"\xff"


@pytest.mark.boxed_here(ALIKE)
def test_the_path_for_imports(site: Site) -> None:
    module = site.cargo("src/ours.py", b"WORD = 'found'\n")
    job = site.job("", [module], argv=("python3", "-c", "import ours; print(ours.WORD)"))
    job = replace(job, shipment=replace(_shipment(job.shipment), search=("src", ".")))
    assert site.run(job).exit_code == 0
    assert site.log(job) == b"found\n"


@pytest.mark.boxed_here(ALIKE)
def test_many_at_once(site: Site) -> None:
    jobs = [site.job(f"echo {code}; sleep 0.1; exit {code}") for code in range(8)]
    assert [told.exit_code for told in ends(site, jobs)] == list(range(8))
    assert [site.log(job) for job in jobs] == [f"{code}\n".encode() for code in range(8)]


@pytest.mark.boxed_here(ALIKE)
def test_wait_heeds_its_timeout_and_wakes(site: Site) -> None:
    handle = site.executor.submit(site.job(FOREVER))
    assert site.executor.wait([handle], 0.05) == []
    site.executor.wake()
    assert site.executor.wait([handle], None) == []
    site.executor.cancel(handle, 0)
    assert site.end(handle).exit_code == site.signalled(signal.SIGKILL)
    assert site.executor.wait([handle], 0.05) == []
    site.executor.cancel(handle, 0)
    site.executor.cancel("a stranger", 0)
    assert site.executor.wait([handle, "a stranger"], 0.1) == []


# Logs


def test_a_log_comes_while_the_job_runs(site: Site) -> None:
    job = site.job("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two >&2; printf '\\377\\000\\r\\n'")
    handle = site.executor.submit(job)
    assert site.executor.read_log(handle, 0) in (b"", b"one\n")
    until(lambda: site.log(job) == b"one\n")
    (site.tree(job) / "go").touch()
    assert site.end(handle).exit_code == 0
    assert site.log(job) == b"one\ntwo\n\xff\0\r\n"
    assert site.executor.read_log(handle, 4) == b"two\n\xff\0\r\n"


@pytest.mark.boxed_here(ALIKE)
def test_a_chatty_job_does_not_drown_the_others(site: Site) -> None:
    loud = site.executor.submit(site.job("yes 0123456789"))
    job = site.job("sleep 0.2; echo heard")
    assert site.end(site.executor.submit(job)).exit_code == 0
    assert site.log(job) == b"heard\n"
    site.executor.cancel(loud, 0)
    site.end(loud)


@pytest.mark.boxed_here(ALIKE)
def test_a_long_log_is_whole(site: Site) -> None:
    job = site.job("yes 0123456789 | head -c 20000000")
    assert site.run(job).exit_code == 0
    assert site.log(job) == (b"0123456789\n" * 2_000_000)[:20_000_000]


# Ending jobs


def started(site: Site, script: str, **more: float) -> str:
    """Submit a script that makes a file `ready`; gives the handle when it is there."""
    job = site.job(script, **more)  # type: ignore[arg-type]
    handle = site.executor.submit(job)
    until((site.tree(job) / "ready").exists, "ready")
    return handle


TREE = f"(trap '' TERM; {FOREVER}) & sleep 600 & setsid sh -c \"trap '' TERM; {FOREVER}\" & env -i setsid sleep 600 &"


def test_nothing_of_a_job_lives_on(site: Site) -> None:
    name = f"sleeper-{uuid.uuid4().hex}"
    hidden = f"touch {site.tree(site.job('', name='hidden'))}/$0; while :; do sleep 0.05; done"
    job = site.job(
        f"{TREE} env -i setsid sh -c '{hidden}' {name} & until [ -e {name} ]; do :; done; exit 5", name="hidden"
    )
    assert site.run(job).exit_code == 5
    assert site.alive() == []
    assert [each for each in psutil.process_iter() if _mentions(each, name)] == []


def _mentions(process: psutil.Process, text: str) -> bool:
    with suppress(psutil.Error):
        return text in " ".join(process.cmdline())
    return False


def test_cancel_asks_first(site: Site) -> None:
    handle = started(site, f"trap 'echo bye; exit 9' TERM; touch ready; {FOREVER}")
    site.executor.cancel(handle, PATIENCE)
    assert site.end(handle).exit_code == 9


def test_cancel_ends_the_whole_tree(site: Site) -> None:
    handle = started(site, f"trap '' TERM; {TREE} touch ready; {FOREVER}")
    assert len(site.alive()) >= 4
    site.executor.cancel(handle, 0.2)
    assert site.end(handle).exit_code == site.signalled(signal.SIGKILL)
    assert site.alive() == []


def test_the_whole_tree_has_the_grace(site: Site) -> None:
    child = f"trap 'sleep 0.3; echo saved > out/checkpoint; exit 0' TERM; touch ready; {FOREVER}"
    job = site.job(f'sh -c "{child}"; true')
    handle = site.executor.submit(job)
    until((site.tree(job) / "ready").exists)
    site.executor.cancel(handle, PATIENCE)
    assert site.end(handle).exit_code == site.signalled(signal.SIGTERM)
    assert (site.fetch(job) / "checkpoint").read_text() == "saved\n"


@pytest.mark.boxed_here(ALIKE)
def test_cancelling_again_shortens_the_grace_and_asks_once(site: Site) -> None:
    job = site.job(f"trap 'echo asked' TERM; touch ready; {FOREVER}")
    handle = site.executor.submit(job)
    until((site.tree(job) / "ready").exists)
    site.executor.cancel(handle, 10 * PATIENCE)
    until(lambda: b"asked" in site.log(job))
    site.executor.cancel(handle, 20 * PATIENCE)
    site.executor.cancel(handle, 0.05)
    assert site.end(handle).exit_code == site.signalled(signal.SIGKILL)
    assert site.log(job).count(b"asked") == 1


def test_a_timeout_ends_the_whole_tree(site: Site) -> None:
    began = time.monotonic()
    told = site.run(site.job(f"sleep 600 & sh -c '{FOREVER}' & {FOREVER}", timeout=0.5))
    assert told.problem == "ended after its timeout"
    assert time.monotonic() - began > 0.5
    assert site.alive() == []


def test_a_timeout_holds_where_nobody_watches(site: Site) -> None:
    handle = site.executor.submit(site.job(FOREVER, timeout=1))
    site.executor.close()
    until((site.root / "jobs" / handle / "exit.json").exists)
    assert site.alive() == []


def test_the_system_ends_a_job_with_a_signal_to_its_runner(site: Site) -> None:
    """A host that shuts down asks every process to end: what the job saves then is not lost."""
    job = site.job(f"trap 'echo saved > out/checkpoint; exit 7' TERM; touch ready; {FOREVER}")
    handle = site.executor.submit(job)
    until((site.tree(job) / "ready").exists)
    os.kill(_runner(site, handle), signal.SIGTERM)
    assert site.end(handle).exit_code == 7
    assert (site.fetch(job) / "checkpoint").read_text() == "saved\n"


def test_a_killed_runner_is_told(site: Site) -> None:
    handle = started(site, f"touch ready; {FOREVER}")
    told = files.read_json(str(site.root / "jobs" / handle / "pid.json"))
    kill(told["runner"])
    ended = site.end(handle)
    assert ended.exit_code == 255
    assert ended.problem == "the host lost it: it was restarted, or killed the job's runner"
    os.killpg(told["process"], signal.SIGKILL)


def test_files_removed_from_under_a_job_are_told(site: Site) -> None:
    handle = started(site, f"touch ready; {FOREVER}")
    runner = _runner(site, handle)
    (site.root / "jobs" / handle).rename(site.folder / "gone")  # at once: half of it would look like a lost one
    shutil.rmtree(site.folder / "gone")
    assert "somebody has removed its files" in site.end(handle).problem
    os.kill(runner, signal.SIGTERM)
    until(lambda: not psutil.pid_exists(runner))
    assert site.alive() == []


def _runner(site: Site, handle: str) -> int:
    return int(files.read_json(str(site.root / "jobs" / handle / "pid.json"))["runner"])


# What goes there


ODD = [
    " ", "a b", "'", '"', "$HOME", "`id`", "\n", "a\nb\n", "\t", "*", "größe", "日本", "🧪", "\\", "-n", "--", "~",
    "#x", "{x}", "\x7f", "\udcff\udcfe", "e\u0301", ".hidden", "x" * 255,
]  # fmt: skip


@pytest.mark.boxed_here(ALIKE)
def test_odd_names_go_and_come(site: Site) -> None:
    there = [site.cargo(f"in/{name}", name.encode("utf-8", "surrogateescape")) for name in ODD]
    there += [site.cargo(f"in/{name}/{name}", b"below") for name in ("d d", "d\n", "dé", "d\udcfe")]
    job = site.job("cp -R in/. out/", there)
    assert site.run(job).exit_code == 0
    back = site.fetch(job)
    for name in ODD:
        assert (back / name).read_bytes() == name.encode("utf-8", "surrogateescape")
    assert (back / "d\udcfe" / "d\udcfe").read_text() == "below"
    assert len(os.listdir(back)) == len(ODD) + 4


@pytest.mark.not_boxed(CONTENTS)
def test_ten_thousand_small_inputs(site: Site) -> None:
    there = [site.cargo(f"in/{n % 100}/{n}", b"%d" % n) for n in range(10_000)]
    job = site.job("find in -type f | wc -l; cp -R in out/", there)
    assert site.run(job).exit_code == 0
    assert site.log(job).strip() == b"10000"
    back = site.fetch(job)
    assert all((back / cargo.path).read_bytes() == b"%d" % n for n, cargo in enumerate(there))
    again = replace(_shipment(job.shipment), name="again")
    began = time.monotonic()
    assert site.run(replace(job, shipment=again)).exit_code == 0
    assert time.monotonic() - began < PATIENCE


@pytest.mark.not_boxed(CONTENTS)
def test_a_large_file_goes_and_comes(site: Site) -> None:
    source = site.folder / "large"
    digest = _random_file(source, LARGE)
    there = Cargo("large.bin", str(source), digest, LARGE)
    job = site.job("cp large.bin out/copy.bin; printf x >> out/copy.bin", [there])
    assert site.run(job).exit_code == 0
    back = site.fetch(job) / "copy.bin"
    assert back.stat().st_size == LARGE + 1
    os.truncate(back, LARGE)
    assert subprocess.run(["cmp", str(back), str(source)], check=False).returncode == 0
    assert site.left() == []


@pytest.mark.boxed_here(ALIKE)
def test_empty_files_and_folders(site: Site) -> None:
    job = site.job(
        "[ -d empty/in ] && cp -R empty out/ && : > out/nothing && mkdir -p out/a/b/c",
        [site.cargo("empty/file", b""), site.cargo("empty/other", b"")],
        folders=("out", "empty/in"),
    )
    assert site.run(job).exit_code == 0
    back = site.fetch(job)
    assert (back / "nothing").stat().st_size == (back / "empty/file").stat().st_size == 0
    assert (back / "a/b/c").is_dir()
    assert (back / "empty/in").is_dir()


@pytest.mark.boxed_here(ALIKE)
def test_executable_bits_go_and_come(site: Site) -> None:
    program = b"#!/bin/sh\necho ran\n"
    for _ in range(2):  # the second time everything is known there
        job = site.job(
            "./run && [ ! -x same ] && cp run same out/ && printf made > out/made && chmod +x out/made",
            [site.cargo("run", program, executable=True), site.cargo("same", program)],
        )
        assert site.run(job).exit_code == 0
        for _ in range(2):  # the second time the host has adopted them
            back = site.fetch(job)
            assert os.access(back / "run", os.X_OK)
            assert os.access(back / "made", os.X_OK)
            assert not os.access(back / "same", os.X_OK)
            assert (back / "run").stat().st_mode & 0o200, "what comes back can be written"


@pytest.mark.boxed_here(ALIKE)
def test_links_come_as_what_they_lead_to(site: Site) -> None:
    job = site.job(
        "printf here > out/file; mkdir -p out/folder/deep; printf below > out/folder/deep/x; cd out; ln -s file link;"
        " ln -s folder other; ln -s ../.. folder/deep/up; ln -s self self; ln -s nowhere dangling; ln -s ../in input",
        [site.cargo("in", b"input")],
    )
    assert site.run(job).exit_code == 0
    back = site.fetch(job)
    found = {str(path.relative_to(back)) for path in back.rglob("*") if not path.is_dir()}
    plain = {"file", "folder/deep/x", "link", "other/deep/x", "input"}
    assert plain <= found
    assert not {"self", "dangling"} & found
    assert not any(path.is_symlink() for path in back.rglob("*"))
    assert (back / "link").read_text() == "here"
    assert (back / "input").read_text() == "input"


@pytest.mark.not_boxed(CONTENTS)
def test_what_a_job_links_to_is_left_alone(site: Site) -> None:
    outside = site.folder / "outside.txt"
    outside.write_text("theirs")
    before = outside.stat()
    neighbour = site.job("printf other > out/x; chmod 755 out/x")
    site.run(neighbour)
    job = site.job(
        f"ln -s '{outside}' out/a; ln -s '{site.tree(neighbour)}/out/x' out/b; ln -s ../../log out/c; echo hi"
    )
    site.run(job)
    assert (site.fetch(job) / "a").read_text() == "theirs"
    assert (outside.stat().st_mode, outside.stat().st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (site.tree(neighbour) / "out/x").stat().st_mode & 0o777 == 0o755


@pytest.mark.boxed_here(ALIKE)
def test_outputs_that_are_not_there(site: Site) -> None:
    job = site.job("rmdir out; printf 1 > one; mkdir two; printf x > two/x; mkfifo pipe", folders=("out",))
    site.run(job)
    place = site.folder / "places"
    (place / "was made").mkdir(parents=True)
    (place / "a folder").mkdir()
    places = {
        "out": str(place / "was made"),
        "none": str(place / "none"),
        "one": str(place / "a folder"),
        "two/": str(place / "two"),
        "pipe": str(place / "pipe"),
    }
    site.executor.collect(job.name, places, lambda *_: False)
    assert sorted(os.listdir(place)) == ["a folder", "two"]
    assert (place / "a folder").read_text() == "1"
    assert (place / "two/x").read_text() == "x"


@pytest.mark.not_boxed(CONTENTS)
def test_what_is_here_already_is_not_fetched(site: Site) -> None:
    job = site.job("printf known > out/known; printf new > out/new")
    site.run(job)
    asked = []

    def bring(digest: str, target: str, executable: bool) -> bool:
        asked.append(digest)
        if os.path.basename(target) == "known":
            Path(target).write_text("from here")
            return True
        return False

    back = site.fetch(job, bring=bring)
    assert (back / "known").read_text() == "from here"
    assert (back / "new").read_text() == "new"
    assert len(asked) == 2


# The store there


@pytest.mark.not_boxed(CONTENTS)
def test_what_is_known_is_not_sent_again(site: Site) -> None:
    there = [site.cargo("a", b"a" * 1000), site.cargo("b", random.Random(1).randbytes(6 << 20))]
    assert site.run(site.job("true", there)).exit_code == 0
    for cargo in there:
        Path(cargo.source).unlink()  # so it cannot be sent
    assert site.run(site.job("cat a b > /dev/null", there)).exit_code == 0


@pytest.mark.not_boxed(CONTENTS)
def test_outputs_are_known_to_the_jobs_after(site: Site) -> None:
    first = site.job("printf 'made there' > out/x")
    site.run(first)
    back = site.fetch(first) / "x"
    there = site.cargo("in", back.read_bytes())
    Path(there.source).unlink()
    second = site.job("cat in", [there])
    assert site.run(second).exit_code == 0
    assert site.log(second) == b"made there"


@pytest.mark.boxed_here(ALIKE)
def test_a_job_that_writes_into_its_inputs_harms_nobody(site: Site) -> None:
    there = [site.cargo("in", b"as it was"), site.cargo("run", b"#!/bin/sh\necho 1\n", executable=True)]
    spoil = "chmod u+w in run; printf 'SPOILT!!!' > in; printf '#!/bin/sh\\necho 2\\n' > run; ./run"
    for _ in range(2):
        job = site.job(spoil, there)
        assert site.run(job).exit_code == 0
        assert site.log(job) == b"2\n"
    job = site.job("chmod 777 in; cat in; ./run", there)
    site.run(job)
    assert site.log(job) == b"as it was1\n"
    job = site.job("[ ! -x in ] && cat in", there)
    assert site.run(job).exit_code == 0


@pytest.mark.not_boxed(CONTENTS)
def test_a_damaged_object_is_noticed(site: Site) -> None:
    there = [site.cargo("small", b"small"), site.cargo("large", random.Random(2).randbytes(5 << 20))]
    site.run(site.job("true", there))
    for folder, _, names in os.walk(site.root / "objects"):
        for name in names:
            path = Path(folder, name)
            content = path.read_bytes()
            path.chmod(0o644)
            path.write_bytes(content[:-1] + b"?")
    job = site.job("cat small; tail -c 3 large", there)
    assert site.run(job).exit_code == 0
    assert site.log(job) == b"small" + Path(there[1].source).read_bytes()[-3:]


@pytest.mark.not_boxed(BEFORE)
@pytest.mark.parametrize("size", [10, 9 << 20])
def test_a_file_that_changed_before_it_was_sent_is_noticed(site: Site, size: int) -> None:
    there = site.cargo("in", b"x" * size)
    Path(there.source).write_bytes(b"y" * size)
    with pytest.raises(OSError, match="changed while it was sent"):
        site.run(site.job("true", [there]))
    Path(there.source).write_bytes(b"x" * (size - 1))
    with pytest.raises(OSError, match="changed while it was sent"):
        site.run(site.job("true", [there]))
    Path(there.source).write_bytes(b"x" * size)  # what came of the wrong one does not count
    job = site.job("wc -c < in; tr -d x < in", [there])
    assert site.run(job).exit_code == 0
    assert site.log(job).split() == [str(size).encode()]
    assert site.left() == []


@pytest.mark.not_boxed(CONTENTS)
def test_two_send_the_same_at_once(site: Site) -> None:
    content = random.Random(3).randbytes(40 << 20)
    there = site.cargo("in", content)
    others = [site.another() for _ in range(3)]
    jobs = [site.job("cp in out/", [there]) for _ in others]
    threads = [threading.Thread(target=each.submit, args=(job,)) for each, job in zip(others, jobs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, job in zip(others, jobs, strict=True):
        assert site.end(job.name, each).exit_code == 0
        assert (site.tree(job) / "out/in").read_bytes() == content
    assert site.left() == []
    assert site.objects() == 1


@pytest.mark.not_boxed(BEFORE)
def test_a_full_disk_is_told_and_nothing_stays_half(site: Site) -> None:
    with _small_disk(site):
        small = [site.cargo(f"in/{n}", random.Random(n).randbytes(1 << 20)) for n in range(12)]
        with pytest.raises(OSError, match="No space left on device") as raised:
            site.run(site.job("true", small))
        assert "No space left on device on" in str(raised.value)
        large = site.cargo("large", random.Random(99).randbytes(12 << 20))
        with pytest.raises(OSError, match="No space left on device"):
            site.run(site.job("true", [large]))
        assert site.left() == []
        for folder, _, names in os.walk(site.root / "objects"):
            assert all(Path(folder, name).stat().st_size == 1 << 20 for name in names)
        shutil.rmtree(site.root / "objects")
        job = site.job("printf ok > out/x")
        assert site.run(job).exit_code == 0
        assert (site.fetch(job) / "x").read_text() == "ok"


def test_a_job_that_fills_the_disk_still_ends(site: Site) -> None:
    with _small_disk(site):
        job = site.job("dd if=/dev/zero of=out/x bs=1M; exit 3")
        assert site.run(job).exit_code == 3
        assert b"No space left" in site.log(job) or site.log(job) == b""


class _small_disk:  # noqa: N801
    """The host's root on a file system of eight megabytes."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def __enter__(self) -> None:
        if os.getuid() != 0:
            lack("only root may mount a small disk")
        self.site.root.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(self.site.root)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            lack("a small disk cannot be mounted here")

    def __exit__(self, *_: object) -> None:
        self.site.close()
        subprocess.run(["umount", "-l", str(self.site.root)], check=True)


# Found again


COUNTED = "echo ran >> '{folder}/counter'; "


def test_a_later_client_finds_a_job_that_runs(site: Site) -> None:
    job = site.job(
        COUNTED.format(folder=site.folder) + "echo one; touch ready; while [ ! -e go ]; do sleep 0.02; done; echo two"
    )
    first = site.another()
    first.submit(job)
    until((site.tree(job) / "ready").exists)
    first.close()
    later = replace(job, log=f"{job.log}.later")
    second = site.another()
    handle = second.submit(later)
    until(lambda: site.log(later) == b"one\n")
    (site.tree(job) / "go").touch()
    assert site.end(handle, second).exit_code == 0
    assert site.log(later) == b"one\ntwo\n"
    assert (site.folder / "counter").read_text() == "ran\n"


CLIENT = """
from mlmake.executors.containers import Mount
from mlmake.executors.docker import DockerExecutor, Housing
from mlmake.executors.host import HostExecutor
from mlmake.model.job import Job, Shipment
from mlmake.model.resources import Resources
from mlmake.transports.local import Local
from mlmake.transports.ssh import Ssh
executor = {executor}
executor.connect()
handle = executor.submit({job!r})
print("submitted", flush=True)
executor.wait([handle], None)
"""


@pytest.mark.parametrize("is_over", [False, True])
def test_a_client_that_is_killed_loses_nothing(site: Site, is_over: bool) -> None:
    script = COUNTED.format(folder=site.folder) + "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two; exit 4"
    job = site.job(script, name="x")
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT.format(executor=site.recipe, job=job)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "submitted\n"
    helpers = psutil.Process(client.pid).children(recursive=False)
    client.kill()
    client.communicate()
    _, alive = psutil.wait_procs(helpers, timeout=PATIENCE)
    assert alive == [], "what led to the host ends with the client"
    job = replace(job, log=f"{job.log}.second")
    if is_over:
        (site.tree(job) / "go").touch()
        until((site.root / "jobs/x/exit.json").exists)
    handle = site.executor.submit(job)
    (site.tree(job) / "go").touch()
    assert site.end(handle).exit_code == 4
    assert site.log(job) == b"one\ntwo\n"
    assert (site.folder / "counter").read_text() == "ran\n"


def test_a_runner_that_a_dead_agent_did_not_start_is_started_later(site: Site) -> None:
    job = site.job("echo ran")
    site.run(job)
    until(lambda: not files.is_locked(str(site.root / "jobs" / job.name / "lock")))
    for name in ("pid.json", "exit.json", "log"):
        (site.root / "jobs" / job.name / name).unlink()
    (site.root / "jobs" / job.name / "exit.json.new").write_bytes(b" " * 4096)
    other = site.another()
    again = replace(job, log=f"{job.log}.again")
    assert site.end(other.submit(again), other).exit_code == 0
    assert site.log(again) == b"ran\n"


@pytest.mark.boxed_here(ALIKE)
def test_two_submit_the_same_at_once(site: Site) -> None:
    script = COUNTED.format(folder=site.folder) + "sleep 0.3; echo said; printf 1 > out/x; exit 6"
    job = site.job(script, [site.cargo("in", b"x" * 100)])
    others = [site.another() for _ in range(4)]
    jobs = [replace(job, log=f"{job.log}.{n}") for n, _ in enumerate(others)]
    threads = [threading.Thread(target=each.submit, args=(own,)) for each, own in zip(others, jobs, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each, own in zip(others, jobs, strict=True):
        assert site.end(job.name, each).exit_code == 6
        assert site.log(own) == b"said\n"
        place = site.folder / f"got-{own.log[-1]}"
        each.collect(job.name, {"out": str(place)}, lambda *_: False)
        assert (place / "x").read_text() == "1"
        each.forget(job.name)
    assert (site.folder / "counter").read_text() == "ran\n"
    until(lambda: job.name not in site.jobs(), "the last one to forget removes it")


@pytest.mark.boxed_here(ALIKE)
def test_what_was_forgotten_runs_anew(site: Site) -> None:
    """As a step's second attempt does: it has the same facts, and so the same name."""
    for number in range(3):
        job = site.job(COUNTED.format(folder=site.folder) + "exit 1", name="same")
        assert site.run(job).exit_code == 1
        site.executor.forget("same")
        assert len((site.folder / "counter").read_text().splitlines()) == number + 1


@pytest.mark.boxed_here(ALIKE)
def test_what_could_not_be_forgotten_runs_anew(site: Site) -> None:
    job = site.job(COUNTED.format(folder=site.folder) + "exit 1")
    site.run(job)
    _break(site)
    site.executor.forget(job.name)
    assert site.run(job).exit_code == 1
    assert (site.folder / "counter").read_text() == "ran\nran\n"


@pytest.mark.boxed_here(ALIKE)
def test_a_new_one_can_be_asked_for(site: Site) -> None:
    job = site.job(COUNTED.format(folder=site.folder) + "true", is_new=True)
    for _ in range(2):
        assert site.run(job).exit_code == 0
    assert (site.folder / "counter").read_text() == "ran\nran\n"


def test_forgetting_leaves_what_runs(site: Site) -> None:
    handle = started(site, f"touch ready; {FOREVER}")
    site.executor.forget(handle)
    site.executor.close()
    assert site.alive() != []
    other = site.another()
    job = site.job("", name=handle)
    assert other.submit(job) == handle
    other.cancel(handle, 0)
    site.end(handle, other)


@pytest.mark.boxed_here(ALIKE)
def test_forgotten_jobs_leave_nothing(site: Site) -> None:
    job = site.job("mkdir out/locked; : > out/locked/x; chmod 500 out/locked; chmod 000 out/locked")
    site.run(job)
    site.executor.forget(job.name)
    site.executor.close()
    until(lambda: site.jobs() == [], "removal")


@pytest.mark.boxed_here(ALIKE)
def test_two_projects_on_one_host(site: Site) -> None:
    """They share contents, and nothing else."""
    there = site.cargo("in", b"both")
    one, other = site.another(), site.another()
    first, second = site.job("cat in; sleep 0.2; echo 1", [there]), site.job("cat in; echo 2", [there])
    handles = [one.submit(first), other.submit(second)]
    assert site.end(handles[1], other).exit_code == 0
    other.close()
    assert site.end(handles[0], one).exit_code == 0
    assert [site.log(first), site.log(second)] == [b"both1\n", b"both2\n"]
    assert site.objects() == 1


# A conversation that breaks


def _break(site: Site) -> None:
    """Kill what leads to the host, as if the line were cut."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if str(site.root) in " ".join(child.cmdline()):
                child.kill()


def test_a_broken_conversation_is_begun_again(site: Site) -> None:
    job = site.job("for n in 1 2 3 4 5 6; do echo $n; sleep 0.3; done; printf 1 > out/x; exit 2")
    handle = site.executor.submit(job)
    for lines in (1, 3, 5):
        until(lambda: len(site.log(job).splitlines()) >= lines)  # noqa: B023
        _break(site)
    assert site.end(handle).exit_code == 2
    assert site.log(job) == b"1\n2\n3\n4\n5\n6\n"
    _break(site)
    assert (site.fetch(job) / "x").read_text() == "1"


def test_a_host_that_stays_away_is_given_up(site: Site) -> None:
    executor = site.another(patience=1.0)
    job = site.job(f"touch ready; {FOREVER}")
    handle = executor.submit(job)
    until((site.tree(job) / "ready").exists)
    executor._control._transport = Local(str(site.root), python="/nowhere/python")
    _break(site)
    told = site.end(handle, executor)
    assert told.is_lost
    assert "the job may go on there" in told.problem
    assert site.alive() != []


@pytest.mark.not_boxed(BEFORE)
def test_closing_does_not_wait_for_a_host(site: Site) -> None:
    is_stopping = threading.Event()
    executor = site.another(patience=1000.0, is_stopping=is_stopping.is_set)
    executor.connect()
    _break(site)
    executor._control._transport = replace(Local("/nowhere"), python="/bin/sleep")  # connects, and says nothing
    threads = [threading.Thread(target=_fails, args=(executor.submit, site.job("true"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    is_stopping.set()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    executor.close()


def _fails(work: Callable[..., object], *args: object) -> None:
    with pytest.raises(Exception, match=r"not waited for|broke|ended our agent"):
        work(*args)


@pytest.mark.not_boxed(BEFORE)
def test_the_agent_is_sent_once(site: Site) -> None:
    site.executor.connect()
    agents = list((site.root / "agent").iterdir())
    assert len(agents) == 1
    before = agents[0].stat().st_mtime_ns
    site.another().connect()
    assert agents[0].stat().st_mtime_ns == before
    os.truncate(agents[0], 100)  # a host that crashed while it was written
    assert site.another().connect()["root"] == str(site.root)
    assert (site.root.stat().st_mode & 0o777) == 0o700


def _shipment(shipment: Shipment | None) -> Shipment:
    assert shipment is not None
    return shipment


def _random_file(path: Path, size: int) -> str:
    import xxhash

    hasher = xxhash.xxh3_128()
    with path.open("wb") as file:
        for _ in range(size >> 20):
            block = os.urandom(1 << 20)
            file.write(block)
            hasher.update(block)
    return hasher.hexdigest()
