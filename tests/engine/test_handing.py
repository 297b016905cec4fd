"""`mode = "folder"`: one folder with just the files that an input names."""

from __future__ import annotations

from projects import Folder


def test_what_counts_is_handed_over_also_behind_links(project: Folder) -> None:
    project.write({"data/a.csv": "a", "data/in/b.csv": "b", "other/c.csv": "c"})
    (project.root / "data/linked").symlink_to("../other")
    (project.root / "data/loop").symlink_to(".")
    (project.root / "data/odd\nname").symlink_to("a.csv")
    (project.root / "data/nothing").symlink_to("nowhere")
    project.steps("""
        [one]
        command = "(cd {inputs.x} && cat a.csv in/* linked/c.csv loop/a.csv odd* && test ! -e nothing) > {outputs.y}"
        inputs = { x = { path = "data/", mode = "folder" } }
        outputs = { y = "build/y" }
    """)
    assert project.build().done == ["one"]
    assert project.read("build/y") == "abcaa"
    project.write({"other/c.csv": "changed"})
    assert project.build().done == ["one"]


def test_a_file_that_is_named_twice_stands_once(project: Folder) -> None:
    project.write({"data/a.csv": "a", "data/in/b.csv": "b"})
    project.steps("""
        [glob]
        command = "(cd {inputs.x} && find . -type l | sort) > {outputs.y}"
        inputs = { x = { path = "data/**", mode = "folder" } }
        outputs = { y = "build/glob" }
        [list]
        command = "(cd {inputs.x} && find . -type l | sort) > {outputs.y}"
        inputs = { x = { path = ["data/in/b.csv", "data/", "data/*.csv"], mode = "folder" } }
        outputs = { y = "build/list" }
    """)
    assert project.build().failed == []
    assert project.log("build/glob") == project.log("build/list") == ["./a.csv", "./in/b.csv"]


def test_where_the_folder_begins_is_a_fact(project: Folder) -> None:
    project.write({"data/a.csv": "a", "data/in/b.csv": "b"})
    step = """
        [one]
        command = "(cd {inputs.x} && find . -type l | sort) > {outputs.y}"
        inputs = { x = { path = PATHS, mode = "folder" } }
        outputs = { y = "build/y" }
    """
    project.steps(step.replace("PATHS", '"data/**/*.csv"'))
    project.build()
    project.steps(step.replace("PATHS", '["data/a.csv", "data/in/b.csv"]'))
    assert project.build().started == []
    project.steps(step.replace("PATHS", '"**/*.csv"'))
    assert project.reasons("one") == ["mode x changed"]
    project.build()
    assert project.log("build/y") == ["./data/a.csv", "./data/in/b.csv"]


def test_a_step_that_waits_for_what_is_in_its_folder_is_maybe(project: Folder) -> None:
    project.write({"x.txt": "1"})
    project.steps("""
        [first]
        command = "wc -c < {inputs.x} > {outputs.y}"
        inputs = { x = "x.txt" }
        outputs = { y = "build/in/y" }
        [then]
        command = "cat {inputs.x}/y > {outputs.z}"
        inputs = { x = { path = ["@first"], mode = "folder" } }
        outputs = { z = "build/z" }
    """)
    project.build()
    project.write({"x.txt": "2"})
    assert project.states() == {"first": "stale", "then": "maybe"}
    assert project.build().spared == ["then"]


def test_two_files_never_take_one_name(project: Folder) -> None:
    project.write({"raw/a.csv": "mine", "data/a.csv": "theirs"})
    project.head = '[datastores]\nraw = "data"\n'
    project.steps("""
        [one]
        command = "cat {inputs.x}/a.csv > {outputs.y}"
        inputs = { x = { path = ["raw/a.csv", "raw://a.csv"], mode = "folder" } }
        outputs = { y = "build/y" }
    """)
    built = project.build()
    assert built.failed == ["one"]
    assert "a.csv: two files of input x would have this name" in built.message("one")
