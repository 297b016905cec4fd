"""A real sshd on this machine, and all that can be wrong with a host or the line to it."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from hosts import Door, Site, pythons
from mlmake.errors import HostError, HostUnavailable
from mlmake.model.job import Job
from mlmake.transports import lasting
from mlmake.transports.ssh import Ssh
from projects import until
from servers import HOST, Proxy, free_port, proxy


@pytest.fixture
def line(box: Door) -> Iterator[Proxy]:
    """What stands between us and the door."""
    with proxy(box.server.port) as made:
        yield made


@pytest.fixture
def site(box: Door, line: Proxy, tmp_path: Path) -> Iterator[Site]:
    """A host behind the line."""
    made = Site(box.ssh(tmp_path / "root", port=line.port), tmp_path)
    yield made
    made.close()


def refusal(site: Site, **more: Any) -> HostError:
    """The error of a host that cannot be used."""
    with pytest.raises(HostError) as raised:
        site.another(**more).connect()
    return raised.value


# A line that is cut


class Scene:
    """One job with all that can travel, whose bytes are counted and cut at some place."""

    def __init__(self, site: Site, size: int) -> None:
        self.site = site
        dice = random.Random(7)
        self.large = dice.randbytes(size)
        files = [site.cargo(f"in/{n}", dice.randbytes(2000)) for n in range(20)]
        self.files = [*files, site.cargo("large", self.large)]
        self.count = 0

    def job(self) -> Job:
        self.count += 1
        script = (
            f"echo ran >> '{self.site.folder}/counter-{self.count}'; for n in 1 2 3 4; do head -c 20000 large | od;"
            " sleep 0.02; done; cp large out/large; cp -R in out/; tail -c +2 large > out/other; exit 3"
        )
        return self.site.job(script, self.files)

    def play(self) -> None:
        """All of it, and nothing of it twice or less than once."""
        executor = self.site.another(patience=60.0)
        executor.connect()
        job = self.job()
        handle = executor.submit(job)
        assert self.site.end(handle, executor).exit_code == 3
        place = self.site.folder / f"back-{self.count}"
        executor.collect(handle, {"out": str(place)}, lambda *_: False)
        assert (place / "large").read_bytes() == self.large
        assert len(os.listdir(place / "in")) == 20
        assert (place / "other").read_bytes() == self.large[1:]
        assert self.site.log(job) == (self.site.root / "jobs" / handle / "log").read_bytes()
        assert len(self.site.log(job)) > 100_000
        assert (self.site.folder / f"counter-{self.count}").read_text() == "ran\n"
        executor.forget(handle)
        executor.close()

    def clear(self) -> None:
        """The host knows nothing again."""
        subprocess.run(["rm", "-rf", str(self.site.root)], check=True)


PLACES = 6
"""Places of a cut in each of the parts below."""


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hardly a pause before a broken conversation is begun again."""
    monkeypatch.setattr(lasting, "_FIRST_PAUSE", 0.02)


@pytest.mark.parametrize("part", ["the beginning", "all of it"])
@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_the_line_is_cut_anywhere(site: Site, line: Proxy, part: str) -> None:
    """The first 40 kB hold keys, login, agent and the first questions; contents, log and outputs are megabytes."""
    is_whole = part == "all of it"
    scene = Scene(site, 5 << 20 if is_whole else 200_000)
    scene.play()
    total = line.up + line.down
    assert total > (15 << 20 if is_whole else 400_000)
    end = total if is_whole else 40_000
    dice = random.Random(end)
    for number in range(PLACES):
        scene.clear()
        before = line.cuts
        line.cut_after = int(end * (number + dice.random()) / PLACES)
        scene.play()
        assert line.cuts == before + 1 or line.cut_after is not None
        line.cut_after = None
    assert site.left() == []


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_the_line_is_cut_again_and_again(site: Site, line: Proxy) -> None:
    """Each time a bit further: what had come is not sent again, or it would never end."""
    content = random.Random(8).randbytes(60 << 20)
    there = site.cargo("large", content)
    executor = site.another(patience=60.0)
    executor.connect()
    is_over = threading.Event()

    def cut() -> None:
        last = line.up
        while not is_over.wait(0.01):
            if line.up > last + (13 << 20):
                line.cut()
                last = line.up

    thread = threading.Thread(target=cut)
    before, cuts = line.up, line.cuts
    thread.start()
    try:
        job = site.job("cp large out/", [there])
        handle = executor.submit(job)
    finally:
        is_over.set()
        thread.join()
    assert site.end(handle, executor).exit_code == 0
    assert line.cuts > cuts + 2
    assert line.up - before < 1.5 * len(content)
    assert (site.tree(job) / "out/large").read_bytes() == content


@pytest.mark.usefixtures("hasty")
def test_a_cut_transfer_goes_on_where_it_broke(site: Site, line: Proxy) -> None:
    size = 40 << 20
    content = random.Random(9).randbytes(size)
    there = site.cargo("large", content)
    executor = site.executor
    executor.connect()
    before = line.up
    line.cut_after = size * 3 // 4
    job = site.job("cp large out/", [there])
    handle = executor.submit(job)
    assert line.cuts == 1
    assert line.up - before < size * 1.2
    assert site.end(handle).exit_code == 0
    before = line.down
    os.truncate(site.tree(job) / "out/large", 0)  # so that this machine's copy is not what the host adopted
    (site.tree(job) / "out/large").write_bytes(content[::-1])
    line.cut_after = size * 3 // 4
    back = site.fetch(job) / "large"
    assert line.cuts == 2
    assert line.down - before < size * 1.2
    assert back.read_bytes() == content[::-1]


def test_what_is_known_costs_no_bytes(site: Site, line: Proxy) -> None:
    size = 8 << 20
    there = [site.cargo("large", random.Random(10).randbytes(size))]
    there += [site.cargo(f"in/{n}", random.Random(n).randbytes(4000)) for n in range(500)]
    site.run(site.job("true", there))
    assert line.up > size
    before = line.up
    assert site.run(site.job("cat large in/* > out/x", there)).exit_code == 0
    assert line.up - before < 100_000, "names and digests alone"


def test_cancelling_over_a_cut_line_says_so(site: Site, line: Proxy) -> None:
    job = site.job("touch ready; sleep 600")
    handle = site.executor.submit(job)
    until((site.tree(job) / "ready").exists)
    line.is_down = True
    line.cut()
    until(lambda: site.executor._control.current is None)
    site.executor.cancel(handle, 0)
    told = site.end(handle)
    assert told.is_lost
    assert "out of reach; the job may go on there" in told.problem
    line.is_down = False


# A host that is away


def test_a_host_that_comes_within_patience(site: Site, line: Proxy) -> None:
    line.is_down = True
    threading.Timer(1.0, lambda: setattr(line, "is_down", False)).start()
    assert site.executor.connect()["digest"] in (True, False)
    assert site.notices
    assert "trying again in 0.5 s" in site.notices[0]


def test_nobody_listens(site: Site) -> None:
    site.transport = _at(site, free_port())
    error = refusal(site, patience=0.3)
    assert isinstance(error, HostUnavailable)
    assert "Connection refused" in error.message
    assert "try: ssh" in error.hint


def test_another_server_listens(site: Site) -> None:
    """A wrong port: something answers, and it is no sshd."""
    with socket.create_server((HOST, 0)) as listener:
        threading.Thread(target=_say_http, args=(listener,), daemon=True).start()
        site.transport = _at(site, listener.getsockname()[1])
        error = refusal(site, patience=0.3)
    assert "cannot be" in error.message


def _at(site: Site, port: int) -> Ssh:
    assert isinstance(site.transport, Ssh)
    return replace(site.transport, port=port)


def _say_http(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            client.close()


def test_a_host_without_an_address(box: Door, tmp_path: Path) -> None:
    site = Site(box.ssh(tmp_path / "root", host="no-such-host.invalid"), tmp_path)
    error = refusal(site, patience=0.3)
    assert "Could not resolve hostname" in error.message or "resolution" in error.message


# Keys


def test_an_unknown_host_key_is_refused(box: Door, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.touch()
    error = refusal(Site(box.ssh(tmp_path / "root", known_hosts=nothing), tmp_path))
    assert not isinstance(error, HostUnavailable)
    assert error.message == "host 'box' has a key that is not known here, and is not trusted for that"
    assert "StrictHostKeyChecking=ask" in error.hint
    assert nothing.read_text() == ""


def test_a_changed_host_key_is_refused(box: Door, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    wrong.write_text(f"# theirs\n[{HOST}]:{box.server.port} {(tmp_path / 'other.pub').read_text()}")
    error = refusal(Site(box.ssh(tmp_path / "root", known_hosts=wrong), tmp_path))
    assert f"has another key than the known one (line 2 of {wrong})" in error.message
    assert "ssh-keygen -R" in error.hint


def test_no_access(box: Door, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    error = refusal(Site(box.ssh(tmp_path / "root", key=str(tmp_path / "other")), tmp_path))
    assert "refuses to let us in" in error.message
    assert "Permission denied (publickey)" in error.message


def test_a_key_with_a_passphrase_and_nobody_to_ask(box: Door, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    key.write_bytes(box.server.key.read_bytes())
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "secret", "-f", str(key)], check=True)
    error = refusal(Site(box.ssh(tmp_path / "root", key=str(key)), tmp_path))
    assert "refuses to let us in" in error.message
    assert f"-i {key}" in error.hint


# What the host is like


NOISE = """
printf 'Welcome!\\n\\n\\000\\377\\n'; printf 'no newline at the end'; echo to the other side >&2; printf '%02000d\\n' 0
head -c 100000 /dev/urandom 2>/dev/null; printf 'mlmake-12 send\\nmlmake-\\n'
"""


def test_a_noisy_shell_does_no_harm(site: Site, box: Door) -> None:
    box.rc(NOISE)
    job = site.job("echo said; cp in out/", [site.cargo("in", b"x" * 3000)])
    assert site.run(job).exit_code == 0
    assert site.log(job) == b"said\n"
    assert (site.fetch(job) / "in").read_bytes() == b"x" * 3000


def test_a_shell_that_never_stops_talking(site: Site, box: Door) -> None:
    box.rc("exec yes 'nonsense without end'")
    error = refusal(site)
    assert "says too much before our agent can" in error.message


def test_a_shell_that_ends_at_once(site: Site, box: Door) -> None:
    box.rc("echo 'This account is not available' >&2; exit 1")
    assert refusal(site).message == "host 'box' ended our agent with exit code 1: This account is not available"


def test_a_host_without_python(site: Site, box: Door) -> None:
    (box.folder / "empty").mkdir(exist_ok=True)
    box.rc(f"PATH={box.folder}/empty; export PATH")
    error = refusal(site)
    assert "host 'box' has no python3: " in error.message
    assert error.hint == "install Python 3.8 or newer there; mlmake needs nothing else"


@pytest.mark.parametrize("version", ["2.7", "3.6", "3.7"])
def test_a_python_that_is_too_old_is_told(box: Door, tmp_path: Path, version: str) -> None:
    python = _with_python(box, tmp_path, version)
    error = refusal(Site(python, tmp_path))
    said = f"mlmake needs Python 3.8 or newer here, and python3 is {version}"
    assert error.message == f"host 'box' has too old a Python: {said}"


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13"])
def test_every_python_will_do(box: Door, tmp_path: Path, version: str) -> None:
    site = Site(_with_python(box, tmp_path, version), tmp_path)
    job = site.job("cp in out/; exit 5", [site.cargo("in", b"x" * (5 << 20))])
    assert site.run(job).exit_code == 5
    assert (site.fetch(job) / "in").stat().st_size == 5 << 20
    assert f"cpython {version}" in site.executor.connect()["software"]
    site.close()


def _with_python(box: Door, folder: Path, version: str) -> Ssh:
    found = pythons(version)
    if not found:
        pytest.skip(f"there is no Python {version} here")
    _program(folder / "bin/python3", f'#!/bin/sh\nexec {found[0]} "$@"\n')
    box.rc(f"PATH={folder}/bin:$PATH")
    return box.ssh(folder / "root")


def test_a_host_without_xxh3(site: Site, box: Door) -> None:
    """Then both sides check with blake2b, and the digests of outputs come from here."""
    python = sys._base_executable  # type: ignore[attr-defined]
    if subprocess.run([python, "-E", "-s", "-c", "import xxhash"], capture_output=True, check=False).returncode == 0:
        pytest.skip("the Python under this one has xxhash")
    _program(site.folder / "bin/python3", f'#!/bin/sh\nexec {python} "$@"\n')
    _program(site.folder / "bin/libxxhash.so.0", "no library")
    box.rc(f"PATH={site.folder}/bin:$PATH; LD_LIBRARY_PATH={site.folder}/bin; export LD_LIBRARY_PATH")
    assert site.executor.connect()["digest"] is False
    there = [site.cargo("small", b"small"), site.cargo("large", random.Random(11).randbytes(9 << 20))]
    job = site.job("cat small large > out/x; printf made > out/y; cp /bin/true out/run", there)
    assert site.run(job).exit_code == 0
    back = site.fetch(job)
    assert (back / "x").read_bytes() == b"small" + Path(there[1].source).read_bytes()
    assert os.access(back / "run", os.X_OK)
    known = [site.cargo("y", b"made"), *there]
    for cargo in known:
        Path(cargo.source).unlink()
    assert site.run(site.job("grep made y", known)).exit_code == 0
    assert site.left() == []


def _program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def test_a_root_that_cannot_be_written(box: Door, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    error = refusal(Site(box.ssh(tmp_path / "file" / "root"), tmp_path))
    assert f"has no room for us: cannot write to {tmp_path}/file/root: Not a directory" in error.message


def test_the_root_is_for_us_alone(box: Door, tmp_path: Path) -> None:
    box.rc("umask 000")
    site = Site(box.ssh("~/deep/er/root"), tmp_path)
    root = Path(site.executor.connect()["root"])
    assert root == box.home / "deep/er/root"
    assert root.stat().st_mode & 0o777 == 0o700
    site.close()


def test_one_login_serves_all(site: Site, box: Door) -> None:
    before = (box.folder / "sshd.log").read_text().count("Accepted publickey")
    job = site.job("cp in out/", [site.cargo("in", b"x" * 3000)])
    site.run(job)
    site.fetch(job)
    assert (box.folder / "sshd.log").read_text().count("Accepted publickey") == before + 1


def test_no_process_and_no_socket_stays_behind(site: Site) -> None:
    before = psutil.Process().children(recursive=True)
    site.run(site.job("true"))
    mine = [each for each in psutil.Process().children(recursive=True) if each not in before]
    assert len(mine) >= 2
    assert isinstance(site.transport, Ssh)
    folder = Path(site.transport._folder())
    assert folder.exists()
    site.executor.close()
    began = time.monotonic()
    assert psutil.wait_procs(mine, timeout=20)[1] == []
    assert time.monotonic() - began < 20
    assert not folder.exists()
