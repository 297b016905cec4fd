"""Opening a datastore: what is filled in, what is never shown, what is loaded, what is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fsspec.registry import _registry

from mlmake.errors import StoreError, StoreMissing
from mlmake.stores.opening import open_store
from mlmake.stores.voice import Voice

SECRET = "hunter2/+ä"


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    for url in (str(tmp_path), f"file://{tmp_path}"):
        store = open_store("raw", url, {}, {})
        assert store.read("a.txt") == b"x"
        assert store.traits.local
        assert store.address("a.txt") == str(tmp_path / "a.txt")
        assert (store.name, store.url) == ("raw", url)


def test_the_url_is_filled(tmp_path: Path) -> None:
    store = open_store("raw", "${env:BASE}/data", {}, {"BASE": str(tmp_path)})
    assert store.address("a.txt") == f"{tmp_path}/data/a.txt"
    assert store.url == "${env:BASE}/data"
    with pytest.raises(StoreMissing) as caught:
        store.read("a.txt")
    assert caught.value.message == "datastore raw: ${env:BASE}/data/a.txt: is not there"


@pytest.mark.parametrize(
    ("url", "options", "key"),
    [
        ("s3://b", {"secret": "${env:LAKE_SECRET}"}, "secret"),
        ("s3://b", {"client_kwargs": {"verify": ["x", "${env:LAKE_SECRET}"]}}, "client_kwargs.verify"),
        ("s3://${env:LAKE_SECRET}", {}, "url"),
    ],
)
def test_a_missing_variable(url: str, options: dict[str, object], key: str) -> None:
    with pytest.raises(StoreError) as caught:
        open_store("lake", url, options, {"OTHER": "x"})
    assert caught.value.message.startswith("datastore lake: ")
    assert f"{key} needs the environment variable LAKE_SECRET, which is not set" in caught.value.message
    assert "export LAKE_SECRET=" in caught.value.hint


def test_no_secret_is_shown() -> None:
    """A driver that shows all that it was given: one that refuses the options."""
    options = {"port": "${env:S}", "password": "written-down", "nonsense": {"a": "${env:S}"}}
    with pytest.raises(StoreError) as caught:
        open_store("lake", "sftp://host/x", options, {"S": SECRET})
    assert SECRET not in str(caught.value)
    voice = Voice(name="lake", url="s3://b", secrets=(SECRET, "hunter2/+ä and more", ""))
    error = voice.error(StoreError, "a.txt", f"bad key {SECRET} and more at http://x?k=hunter2%2F%2B%C3%A4&", SECRET)
    assert error.message == "datastore lake: s3://b/a.txt: bad key *** at http://x?k=***&"
    assert error.hint == "***"
    assert SECRET not in repr(voice)


def test_a_secret_that_is_written_down_is_not_shown_either(tmp_path: Path) -> None:
    store = open_store("lake", "memory://x", {"secret": "written-down"}, {})
    assert "written-down" not in repr(store) + str(vars(store))


def test_a_missing_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(_registry, "s3", raising=False)  # where another test has loaded it
    with pytest.raises(StoreError) as caught:
        open_store("lake", "s3://b/x", {}, {})
    assert "the driver of s3:// is not installed" in caught.value.message
    assert caught.value.hint == "pip install 'mlmake[s3]'"


def test_the_driver_of_a_host_is_an_extra_too(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PARAMIKO], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert ran.stdout.splitlines()[-1:] == ["pip install 'mlmake[sftp]'"], ran.stderr


_WITHOUT_PARAMIKO = """
import sys
sys.modules["paramiko"] = None
from mlmake.errors import StoreError
from mlmake.stores.opening import open_store
try:
    open_store("box", "sftp://me@127.0.0.1/srv", {}, {})
except StoreError as error:
    print(error.message)
    print(error.hint)
"""


def test_an_unknown_scheme() -> None:
    with pytest.raises(StoreError, match="datastore lake: nowhere://b/x: cannot be opened"):
        open_store("lake", "nowhere://b/x", {}, {})


def test_a_folder_has_no_options(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="a folder has no options, got key"):
        open_store("raw", str(tmp_path), {"key": "x"}, {})


def test_nothing_heavy_is_loaded_for_a_folder(tmp_path: Path) -> None:
    code = f"""
import sys
from mlmake.stores.opening import open_store
light = sorted({{"mlmake.stores.store", "concurrent.futures", "tempfile"}} & set(sys.modules))
assert not light, light
open_store("raw", {str(tmp_path)!r}, {{}}, {{}}).list()
heavy = sorted({{"fsspec", "paramiko", "s3fs", "asyncio"}} & set(sys.modules))
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
