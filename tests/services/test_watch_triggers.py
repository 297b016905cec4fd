"""Triggers: what they may say, when they are due, and that a watch serves them."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from mlmake.errors import ConfigError
from mlmake.model.trigger import Trigger
from mlmake.services.watch import clock
from mlmake.services.watch.clock import next_due
from mlmake.services.watch.triggered import Triggered
from projects import Folder, until
from servers import Answer, web_server
from watching import watching

BERLIN = ZoneInfo("Europe/Berlin")
NAIVE = """
[pipelines.train.triggers]
{triggers}
[pipelines.train.steps.fit]
command = "cat in/* | wc -l > {{outputs.n}}; echo fit >> ../ran; while [ -e ../hold ]; do sleep 0.02; done"
inputs = {{ x = "in/*" }}
outputs = {{ n = "n" }}
[pipelines.page.steps.page]
command = "cat page.txt > {{outputs.y}}"
inputs = {{ p = "page.txt" }}
outputs = {{ y = "y" }}
"""


def at(*moment: int, zone: ZoneInfo = BERLIN) -> float:
    return datetime(*moment, tzinfo=zone).timestamp()  # type: ignore[arg-type, misc]


def times(trigger: Trigger, start: float, count: int) -> list[str]:
    """The next times, on the clock of Berlin."""
    found = []
    for _ in range(count):
        due = next_due(trigger, start)
        assert due is not None
        start = due
        found.append(datetime.fromtimestamp(due, BERLIN).strftime("%d %H:%M %z"))
    return found


def test_a_clock_that_goes_forward_skips_no_day() -> None:
    daily = Trigger(cron="30 2 * * *", timezone="Europe/Berlin")
    assert times(daily, at(2026, 3, 28, 0, 0), 3) == ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]


def test_a_clock_that_goes_back_runs_a_day_once_and_every_hour() -> None:
    daily = Trigger(cron="30 2 * * *", timezone="Europe/Berlin")
    assert times(daily, at(2026, 10, 24, 12, 0), 2) == ["25 02:30 +0200", "26 02:30 +0100"]
    hourly = Trigger(cron="0 * * * *", timezone="Europe/Berlin")
    assert times(hourly, at(2026, 10, 25, 1, 30), 3) == ["25 02:00 +0200", "25 02:00 +0100", "25 03:00 +0100"]


def test_working_days_on_another_clock() -> None:
    trigger = Trigger(cron="0 6 * * 1-5", timezone="America/New_York")
    assert times(trigger, at(2026, 7, 3, 13, 0), 1) == ["06 12:00 +0200"]


def test_this_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", ":Europe/Berlin")
    assert times(Trigger(cron="0 6 * * *"), at(2026, 3, 29, 0, 0), 1) == ["29 06:00 +0200"]
    monkeypatch.setenv("TZ", "nonsense")
    assert clock.zone("") is not None
    monkeypatch.setenv("TZ", "XYZ-5")
    time.tzset()
    try:
        assert datetime.now(clock.zone("")).utcoffset() == timedelta(hours=5)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_times_that_were_missed_come_once() -> None:
    trigger = Triggered(
        "p", Trigger(every=60.0, cron="0 * * * *", timezone="Europe/Berlin"), "/none", at(2026, 1, 1, 0, 0)
    )
    assert not trigger.is_due(at(2026, 1, 1, 0, 0) + 59)
    morning = at(2026, 1, 1, 8, 12)
    assert trigger.is_due(morning)
    trigger.starts(morning)
    assert not trigger.is_due(morning + 59)
    assert trigger.is_due(morning + 60)
    trigger.starts(morning)
    assert not trigger.is_due(morning - 3600), "the clock was set back"
    assert trigger.is_due(morning - 3600 + 60)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('cron = "0 6 * * 9"', "pipelines.train.triggers.cron: '0 6 * * 9' is no cron expression (Bad day-of-week)"),
        ('cron = "0 6 * *"', "'0 6 * *' is no cron expression (Wrong number of fields): minute hour"),
        ('cron = "0 6 30 2 *"', "pipelines.train.triggers.cron: '0 6 30 2 *'"),
        ('cron = "0 6 * * *"\ntimezone = "Europe/Berlni"', "did you mean 'Europe/Berlin'?"),
        ('cron = "0 6 * * *"\ntimezone = "../etc"', "no time zone '../etc' is known here"),
        ('every = "1h"\ntimezone = "Europe/Berlin"', "'timezone' is that of 'cron', which is not there"),
        ('every = "10ms"', "a build every 0.01 s is too often: at least every second"),
        ('timezone = ""', "it says nothing: give it 'on_change', 'every' or 'cron'"),
        ('on_change = ["../x"]', "pipelines.train.triggers.on_change: '../x' leaves the project"),
        ('on_chnage = ["x"]', "unknown key 'on_chnage'; did you mean 'on_change'?"),
        ("every = true", "pipelines.train.triggers.every: expected a duration such as '90s'"),
    ],
)
def test_triggers_that_cannot_be(project: Folder, table: str, told: str) -> None:
    project.toml(NAIVE.format(triggers=table))
    with pytest.raises(ConfigError) as raised:
        project.load()
    assert told in raised.value.message


def test_files_of_one_arrival_are_one_run_and_what_comes_meanwhile_another(project: Folder) -> None:
    project.write({"in/0": "0\n", "page.txt": "p"})
    project.toml(NAIVE.format(triggers='on_change = ["in/*"]'))
    with watching(project, settle=0.1) as watch:
        assert [each.started for each in watch.rebuilds] == [["page.page"], ["train.fit"]]
        assert project.log("../ran") == ["fit"], "what came before the watch is not missed"
        count = len(watch.rebuilds)
        project.write({f"in/{number}": "x\n" for number in range(1, 20)})
        assert watch.until_built(count + 1).why == ["train: files have changed"]
        assert project.read("n").split() == ["20"]
        project.write({"../hold": "", "in/20": "x\n"})
        until(lambda: len(project.log("../ran")) == 3)
        project.write({"in/21": "x\n"})
        project.write({"in/22": "x\n"})
        os.unlink(project.root / "../hold")
        watch.until_built(count + 3)
        assert project.read("n").split() == ["23"]
        assert len(project.log("../ran")) == 4
        project.write({"page.txt": "q"})
        watch.until_built(count + 4)
        assert watch.started() == ["page.page"]


def test_every_so_often(project: Folder) -> None:
    project.write({"in/0": "0\n"})
    project.toml("""
        [pipelines.train.triggers]
        every = "1s"
        [pipelines.train.steps.fit]
        command = "echo fit >> ../ran; echo > {outputs.n}"
        outputs = { n = "n" }
        reuse = false
    """)
    with watching(project) as watch:
        until(lambda: len(project.log("../ran")) >= 3)
        assert {tuple(each.why) for each in watch.rebuilds} == {
            ("train: the watch starts",),
            ("train: its time has come",),
        }


def test_a_pipeline_that_is_named_is_watched_too(project: Folder) -> None:
    project.write({"in/0": "0\n", "page.txt": "p"})
    project.toml(NAIVE.format(triggers='cron = "0 0 1 1 *"'))
    with watching(project) as watch:
        assert watch.started() == ["page.page"]
        project.write({"in/1": "1\n"})
        watch.rest()
        project.toml(NAIVE.format(triggers='on_change = ["in/*"]'))
        until(lambda: watch.watch._triggered["train"].trigger.on_change)
        watch.rest()
        count = len(watch.rebuilds)
        project.write({"in/2": "2\n"})
        watch.until_built(count + 1)
        assert project.read("n").split() == ["3"]
    with watching(project, "train") as watch:
        count = len(watch.rebuilds)
        project.write({"in/3": "3\n"})
        until(lambda: len(watch.rebuilds) > count and project.read("n").split() == ["4"])


def test_datastores_are_asked_at_an_interval(project: Folder) -> None:
    version = ["1"]
    with web_server() as server:
        server.answer = lambda method, path, wanted: Answer(
            body=version[0].encode() if path == "/x" else b"more", headers={"ETag": f'"{path}{version[0]}"'}
        )
        project.toml(f"""
            [datastores]
            lake = "{server.url}"
            [pipelines.use.steps.use]
            command = "cat {{inputs.x}} {{inputs.own}} > {{outputs.y}}"
            inputs = {{ x = "lake://x", own = "own" }}
            outputs = {{ y = "y" }}
            [pipelines.other.triggers]
            on_change = ["lake://x"]
            [pipelines.other.steps.other]
            command = "echo other >> ../ran; echo > {{outputs.z}}"
            outputs = {{ z = "z" }}
            reuse = false
        """)
        project.write({"own": "a"})
        with watching(project, every=0.3) as watch:
            until(lambda: len(server.asked) > 6)
            assert [each.started for each in watch.rebuilds if "use.use" in each.started] == [["use.use"]]
            version[0] = "2"
            until(lambda: project.read("y") == "2a")
            until(lambda: len(project.log("../ran")) == 2)
            project.write({"own": "b"})
            until(lambda: project.read("y") == "2b")


def test_what_cannot_be_asked_keeps_no_other_pipeline_waiting(project: Folder) -> None:
    version = ["1"]
    with web_server() as server:
        server.answer = lambda method, path, wanted: Answer(
            403 if path == "/closed" else 200, body=b"x", headers={"ETag": f'"{version[0]}"'}
        )
        project.toml(f"""
            [datastores]
            lake = "{server.url}"
            [pipelines.closed.triggers]
            on_change = ["lake://closed"]
            [pipelines.closed.steps.closed]
            command = "echo > {{outputs.y}}"
            outputs = {{ y = "y" }}
            [pipelines.other.triggers]
            on_change = ["lake://x"]
            [pipelines.other.steps.other]
            command = "echo other >> ../ran; echo > {{outputs.z}}"
            outputs = {{ z = "z" }}
            reuse = false
        """)
        with watching(project, every=0.2) as watch:
            until(lambda: len(server.asked) > 6)
            version[0] = "2"
            until(lambda: len(project.log("../ran")) == 2)
            assert len({*watch.face.problems}) == 1
