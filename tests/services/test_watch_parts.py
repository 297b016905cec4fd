"""The parts of a watch one by one: quiet, mounts, ears, hooks."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from queue import SimpleQueue

import pytest

from mlmake.errors import UsageError
from mlmake.model.run import Summary
from mlmake.services.watch.ears import Lost
from mlmake.services.watch.hooks import Hooks, Messenger, message
from mlmake.services.watch.inotify import Inotify
from mlmake.services.watch.interest import Heard
from mlmake.services.watch.mounts import is_below, silent_mounts
from mlmake.services.watch.observed import Observed
from mlmake.services.watch.quiet import LONGEST, Quiet
from projects import Folder, until
from servers import Answer, web_server
from watching import watching

MOUNTS = r"""
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 27 0:40 / /home/you/far\040away rw,relatime shared:1 - fuse.sshfs host:/data rw
31 27 0:41 / /mnt/share rw - nfs4 server:/share rw
32 31 0:42 / /mnt/share/disk rw - fuseblk /dev/sdb1 rw
33 27 0:43 / /twice rw - nfs server:/a rw
34 27 0:44 / /twice rw - ext4 /dev/sdc1 rw
"""


def test_quiet_waits_for_the_end_of_a_burst_but_not_for_ever() -> None:
    assert Quiet(0.2).due is None
    quiet = Quiet(0.2)
    quiet.heard(1.0)
    quiet.heard(1.1)
    assert quiet.due == pytest.approx(1.3)
    assert not quiet.is_long(1.3)
    for tenth in range(200):
        quiet.heard(1.0 + tenth / 10)
    assert quiet.due == 1.0 + LONGEST
    assert quiet.is_long(1.0 + LONGEST)
    quiet.taken()
    assert quiet.due is None


def test_mounts_that_tell_nothing() -> None:
    mounts = silent_mounts(MOUNTS)
    assert mounts == ("/home/you/far away", "/mnt/share")
    assert is_below("/mnt/share/x", mounts)
    assert is_below("/mnt/share", mounts)
    assert not is_below("/mnt/shared", mounts)
    assert silent_mounts("nonsense\n- \n") == ()


def test_ears(tmp_path: Path) -> None:
    heard: SimpleQueue[Heard | Lost] = SimpleQueue()
    (tmp_path / "full").mkdir()
    (tmp_path / "closed").mkdir()
    top, full = str(tmp_path), str(tmp_path / "full")
    ears = Inotify(heard.put)
    try:
        assert ears.listen({top: False, full: True, f"{top}/none": True}) == ({top, full}, {f"{top}/none"})
        assert ears.listen({top: False, full: True}) == (set(), set())
        (tmp_path / "x").write_text("not of interest")
        assert heard.get(timeout=60) == Heard(top, "x", is_named=True)
        (tmp_path / "full/y").write_text("y")
        assert [heard.get(timeout=60) for _ in range(3)] == [Heard(full, "y", True), Heard(full, "y"), Heard(full, "y")]
        os.rename(full, f"{top}/moved")
        messages = [heard.get(timeout=60) for _ in range(3)]
        assert messages.count(Lost(full)) == 1
        assert Heard(top, "full", True, True) in messages
        assert ears.listen({top: False, f"{top}/moved": True}) == ({f"{top}/moved"}, set())
    finally:
        ears.close()


@pytest.mark.parametrize("away", ["moved", "moved above", "removed", "removed in use"])
def test_ears_hear_a_folder_that_comes_in_the_place_of_another(tmp_path: Path, away: str) -> None:
    heard: SimpleQueue[Heard | Lost] = SimpleQueue()
    folder = tmp_path / "above/in"
    folder.mkdir(parents=True)
    wanted = {str(tmp_path): False, str(folder.parent): False, str(folder): True}
    ears = Inotify(heard.put)
    held = os.open(folder, os.O_RDONLY) if away == "removed in use" else None
    try:
        ears.listen(wanted)
        if away.startswith("moved"):
            (folder if away == "moved" else folder.parent).rename(tmp_path / "other")
        else:
            folder.rmdir()
        folder.mkdir(parents=True)
        (tmp_path / "last").touch()
        until(lambda: heard.get(timeout=60) == Heard(str(tmp_path), "last", True))
        assert str(folder) in ears.listen(wanted)[0]
        (folder / "x").touch()
        until(lambda: heard.get(timeout=60) == Heard(str(folder), "x", True))
    finally:
        ears.close()
        if held is not None:
            os.close(held)


def test_ears_of_other_systems(tmp_path: Path) -> None:
    heard: list[Heard | Lost] = []
    (tmp_path / "in").mkdir()
    inner = str(tmp_path / "in")
    ears = Observed(heard.append)
    try:
        assert ears.listen({inner: True, f"{inner}/none": True}) == ({inner}, {f"{inner}/none"})
        (tmp_path / "in/x").write_text("x")
        until(lambda: Heard(inner, "x", True) in heard and Heard(inner, "x") in heard)
        (tmp_path / "in/x").rename(tmp_path / "in/y")
        until(lambda: Heard(inner, "x", True, True) in heard and Heard(inner, "y", True) in heard)
        (tmp_path / "in/y").unlink()
        (tmp_path / "in").rmdir()
        until(lambda: Lost(inner) in heard)
        assert ears.listen({}) == (set(), set())
    finally:
        ears.close()


def test_commands_after_builds(project: Folder) -> None:
    problems: list[str] = []
    hooks = Hooks(always='echo "$MLMAKE_OUTCOME $MLMAKE_CHANGED" >> told', on_failure="exit 3")
    messenger = Messenger(hooks, str(project.root), problems.append)
    messenger.tell(Summary(ran=1), True, ["data/x"], [])
    messenger.tell(Summary(failed=1), False, ["data/x", "y"], ["fit"])
    messenger.close()
    assert project.log("told") == ["done data/x", "failed data/x", "y"]
    assert problems == ["`exit 3` ended with exit code 3"]


def test_addresses_are_told(project: Folder) -> None:
    problems: list[str] = []
    with web_server() as server:
        server.answer = lambda method, path, wanted: Answer(200 if path == "/good" else 410)
        hooks = Hooks(always=f"{server.url}/good", on_failure=f"{server.url}/secret")
        messenger = Messenger(hooks, str(project.root), problems.append)
        messenger.tell(Summary(failed=1), False, [], ["fit"])
        messenger.close()
        assert server.asked == ["POST /good", "POST /secret"]
    gone = Messenger(Hooks(always="http://127.0.0.1:9/secret"), str(project.root), problems.append)
    gone.tell(Summary(ran=1), True, [], [])
    gone.close()
    assert problems[0] == "127.0.0.1 was told, and answered with 410 Gone"
    assert problems[1].startswith("127.0.0.1 cannot be told: ")
    assert not any("secret" in each for each in problems)
    with pytest.raises(UsageError):
        Hooks(on_success="https://").check()


def test_what_answers_with_nonsense_keeps_no_hook_from_running(project: Folder) -> None:
    problems: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/secret"
        messenger = Messenger(Hooks(always=address, on_success="echo good >> told"), str(project.root), problems.append)
        messenger.tell(Summary(ran=1), True, [], [])
        with server.accept()[0] as asked:
            asked.recv(65536)
            asked.sendall(b"nonsense\r\n\r\n")
            until(lambda: project.log("told") == ["good"])
        messenger.close()
    assert problems == ["127.0.0.1 cannot be told: it answers with something else than HTTP (BadStatusLine)"]


def test_of_very_many_changes_a_command_gets_the_first(project: Folder) -> None:
    problems: list[str] = []
    messenger = Messenger(Hooks(always='echo "$MLMAKE_CHANGED" > told'), str(project.root), problems.append)
    changed = [f"data/{number:0100}" for number in range(5000)]
    messenger.tell(Summary(ran=1), True, changed, [])
    messenger.close()
    assert problems == []
    told = project.log("told")
    assert 900 < len(told) < 1000
    assert told == changed[: len(told)]


def test_a_watch_tells_how_builds_end(project: Folder) -> None:
    project.write({"in": "1"})
    project.steps("""
        [a]
        command = "grep -v bad {inputs.x} > {outputs.y}"
        inputs = { x = "in" }
        outputs = { y = "y" }
    """)
    hooks = Hooks(on_success="echo good >> ../told", on_failure="echo bad >> ../told")
    with watching(project, hooks=hooks):
        until(lambda: project.log("../told") == ["good"])
        project.write({"in": "bad"})
        until(lambda: project.log("../told") == ["good", "bad"])


def test_the_body_of_a_message() -> None:
    told = message("/home/you/flights", Summary(ran=2, run=7), True, ["x"], [])
    assert json.loads(json.dumps(told))["text"] == "flights: 2 ran, 0 fresh, 0 restored, 0 failed in 0.0 s"
    assert (told["outcome"], told["run"], told["changed"]) == ("done", 7, ["x"])
