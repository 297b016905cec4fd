"""SFTP: which hosts and users are let in, and a connection that breaks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from mlmake.errors import StoreError, StoreUnavailable
from mlmake.stores.opening import open_store
from mlmake.stores.parts import SUFFIX
from mlmake.stores.patience import EAGER
from projects import until
from servers import HOST, SshServer, ended, free_port, ssh_server


@pytest.fixture(scope="module")
def ssh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with ssh_server(tmp_path_factory.mktemp("sshd")) as server:
        yield server


def refusal(ssh: SshServer, folder: Path, **options: str) -> StoreError:
    store = open_store("lake", ssh.url(folder), {**ssh.options, **options}, {}, patience=EAGER)
    with pytest.raises(StoreError) as caught:
        store.list()
    assert not isinstance(caught.value, StoreUnavailable)
    return caught.value


def test_an_unknown_host_is_refused(ssh: SshServer, tmp_path: Path) -> None:
    for name in ("empty", "gone"):
        (tmp_path / "empty").touch()
        error = refusal(ssh, tmp_path, known_hosts=str(tmp_path / name))
        assert f"the key of host {HOST} is unknown" in error.message
        assert "compare the fingerprint" in error.hint


def test_another_host_key_is_refused(ssh: SshServer, tmp_path: Path) -> None:
    kind, text = (ssh.folder / "user_key.pub").read_text().split()[:2]
    (tmp_path / "known_hosts").write_text(f"[{HOST}]:{ssh.port} {kind} {text}\n")
    error = refusal(ssh, tmp_path, known_hosts=str(tmp_path / "known_hosts"))
    assert f"the key of host {HOST} is not the known one" in error.message


def test_another_user_key_is_refused(ssh: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True, capture_output=True
    )
    error = refusal(ssh, tmp_path, key_filename=str(tmp_path / "key"))
    assert "access denied" in error.message


def test_nobody_listens(ssh: SshServer, tmp_path: Path) -> None:
    url = replace(ssh, port=free_port()).url(tmp_path)
    with pytest.raises(StoreUnavailable, match="datastore lake: sftp://"):
        open_store("lake", url, ssh.options, {}, patience=EAGER).list()


def test_a_host_of_the_configuration(ssh: SshServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    config = tmp_path / "config"
    config.write_text(f"Host box\n  HostName {HOST}\n  Port {ssh.port}\n  User {ssh.user}\n  IdentityFile {ssh.key}\n")
    options = {"config": str(config), "known_hosts": str(ssh.known_hosts)}
    assert open_store("lake", f"sftp://box{tmp_path}", options, {}).read("a.txt") == b"x"


def test_a_connection_that_breaks_is_made_anew(ssh: SshServer, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    store = open_store("lake", ssh.url(tmp_path), ssh.options, {}, patience=EAGER)
    for _ in range(3):
        assert store.read("a.txt") == b"x"
        for child in psutil.Process(ssh.process.pid).children(recursive=True):
            child.kill()
    assert store.list()[0].key == "a.txt"


def test_a_folder_without_rights(ssh: SshServer, tmp_path: Path) -> None:
    store = open_store("lake", ssh.url(Path("/proc/1")), ssh.options, {}, patience=EAGER)
    source = tmp_path / "a.txt"
    source.write_text("x")
    with pytest.raises(StoreError) as caught:
        store.put(str(source), "new.txt")
    assert not isinstance(caught.value, StoreUnavailable)


PUT = """
import json, sys
from mlmake.stores.opening import open_store
url, options, source = json.loads(sys.argv[1])
open_store("lake", url, options, {}).put(source, "a.bin")
"""


def test_a_put_that_is_killed_leaves_what_was_there(ssh: SshServer, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    (place / "a.bin").write_bytes(b"old")
    source = tmp_path / "source"
    os.mkfifo(source)  # whoever reads it comes half-way and waits
    call = json.dumps([ssh.url(place), ssh.options, str(source)])
    with ended(subprocess.Popen([sys.executable, "-c", PUT, call])) as process, source.open("wb") as feed:
        feed.write(b"x" * (2 << 20))
        feed.flush()
        until(lambda: any(path.stat().st_size for path in place.glob(f".*{SUFFIX}")))
        process.kill()
        process.wait()
    store = open_store("lake", ssh.url(place), ssh.options, {}, patience=EAGER)
    assert [(entry.key, entry.size) for entry in store.list()] == [("a.bin", 3)]
    assert store.read("a.bin") == b"old"
