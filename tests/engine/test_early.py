from projects import Folder


def test_it(project: Folder) -> None:
    project.steps("""
        [one]
        command = "echo 1 > {outputs.x}"
        outputs = { x = "build/x.txt" }
    """)
    assert project.build().done == ["one"]
    assert project.cli("status", "--check").returncode == 0
    assert project.processes() == []
