"""The agent as it goes to a host: one file, for Python 3.8 and its standard library."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mlmake.transports.agent
from hosts import pythons
from mlmake.transports.parcel import parcel

FOLDER = Path(mlmake.transports.agent.__file__).parent
MODULES = sorted(FOLDER.glob("*.py"))


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_it_imports_the_standard_library_and_itself(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            outside = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            outside = [str(node.module)]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "it is one package"
            own = [node.module] if node.module else [each.name for each in node.names]
            assert all((FOLDER / f"{each}.py").exists() for each in own)
            continue
        else:
            continue
        for each in outside:
            top = each.partition(".")[0]
            assert top in sys.stdlib_module_names or (path.name, top) == ("digest.py", "xxhash"), each


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_python_3_8_understands_it(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 8))
    if len(tree.body) > 1 and path.name != "boot.py":
        assert "from __future__ import annotations" in path.read_text()


@pytest.mark.parametrize("version", ["3.8"])
def test_python_3_8_can_load_it(version: str, tmp_path: Path) -> None:
    found = pythons(version)
    if not found:
        pytest.skip(f"there is no Python {version} here")
    (tmp_path / "agent.pyz").write_bytes(parcel().content)
    modules = ", ".join(path.stem for path in MODULES if path.stem not in ("__init__", "boot"))
    script = f"import sys; sys.path.insert(0, 'agent.pyz'); from mlmake_agent import {modules}"
    subprocess.run([found[0], "-E", "-s", "-W", "error", "-c", script], cwd=tmp_path, check=True)


@pytest.mark.parametrize("version", ["2.7", "3.6"])
def test_an_old_python_can_read_that_it_is_too_old(version: str, tmp_path: Path) -> None:
    found = pythons(version)
    if not found:
        pytest.skip(f"there is no Python {version} here")
    words = parcel().command(found[0], str(tmp_path / "root"), "hello")
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == f"mlmake needs Python 3.8 or newer here, and python3 is {version}\n"
    assert not (tmp_path / "root").exists()


def test_the_same_content_has_the_same_name(tmp_path: Path) -> None:
    first = parcel()
    parcel.cache_clear()
    assert parcel() == first
    other = subprocess.run(
        [sys.executable, "-c", "from mlmake.transports.parcel import parcel; print(parcel().name)"],
        cwd=tmp_path,
        env={"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == first.name


def test_it_is_small() -> None:
    """It travels once to every host; what starts it travels with every connection."""
    ours = parcel()
    assert len(ours.content) < 40_000
    assert sum(map(len, ours.command("python3", "~/.mlmake", "mlmake-0123456789abcdef"))) < 2_000
    with zipfile.ZipFile(io.BytesIO(ours.content)) as archive:
        assert {each.date_time[:3] for each in archive.infolist()} == {(1980, 1, 1)}
        assert "__main__.py" in archive.namelist()


def test_what_starts_it_needs_no_quotes_of_a_shell() -> None:
    boot = parcel().command("python3", "~/.mlmake", "hello")[2]
    assert not set(boot) & set("'\\`$!\n")
