"""The command line for `ssh`, and what its failures mean: pure."""

from __future__ import annotations

from typing import Any

import pytest

from mlmake.errors import HostError, HostUnavailable
from mlmake.model.project import Compute
from mlmake.transports.ssh import Ssh

TABLE: dict[str, Any] = {
    "host": "gpubox",
    "user": "",
    "port": 0,
    "key": "",
    "config": "",
    "known_hosts": "",
    "root": "~/.mlmake",
    "fetch": "needed",
}


def ssh(**table: Any) -> Ssh:
    return Ssh.of(Compute(name="box", kind="ssh", options={**TABLE, **table}), "/project")


def words(**table: Any) -> list[str]:
    made = ssh(**table)
    argv = list(made.argv(("python3", "-c", "print('a b')")))
    made.close()
    assert argv[0] == "ssh"
    assert argv[-1] == """exec python3 -c 'print('"'"'a b'"'"')'"""
    return argv


def settings(argv: list[str]) -> dict[str, str]:
    return dict(argv[at + 1].split("=", 1) for at, word in enumerate(argv) if word == "-o")


def after(argv: list[str], flag: str) -> str:
    return argv[argv.index(flag) + 1] if flag in argv else ""


def test_an_alias_is_left_to_ssh() -> None:
    argv = words()
    assert argv[argv.index("--") + 1 :][0] == "gpubox"
    assert not {"-l", "-p", "-i", "-F"} & set(argv)
    told = settings(argv)
    assert told["StrictHostKeyChecking"] == "yes"
    assert told["BatchMode"] == "yes"
    assert told["ControlMaster"] == "auto"
    assert told["RemoteCommand"] == "none"
    assert "UserKnownHostsFile" not in told


@pytest.mark.parametrize(
    ("host", "address", "port"),
    [
        ("box", "box", ""),
        ("box:2222", "box", "2222"),
        ("me@box", "me@box", ""),
        ("me@box.example.org:22", "me@box.example.org", "22"),
        ("me@corp@box", "me@corp@box", ""),
        ("::1", "::1", ""),
        ("fe80::1%eth0", "fe80::1%eth0", ""),
        ("[::1]", "::1", ""),
        ("[::1]:2222", "::1", "2222"),
        ("me@[fe80::1%eth0]:22", "me@fe80::1%eth0", "22"),
        ("me@::1", "me@::1", ""),
        ("-oProxyCommand=evil", "-oProxyCommand=evil", ""),
    ],
)
def test_how_a_host_is_said(host: str, address: str, port: str) -> None:
    argv = words(host=host)
    assert argv[argv.index("--") + 1] == address
    assert after(argv, "-p") == port


def test_every_key_of_the_table() -> None:
    argv = words(user="me", port=2200, key="keys/id", config="ssh config", known_hosts="/etc/all hosts")
    assert after(argv, "-l") == "me"
    assert after(argv, "-p") == "2200"
    assert after(argv, "-i") == "/project/keys/id"
    assert after(argv, "-F") == "/project/ssh config"
    told = settings(argv)
    assert told["IdentitiesOnly"] == "yes"
    assert told["UserKnownHostsFile"] == '"/etc/all hosts"'


def test_the_table_wins_over_the_host() -> None:
    argv = words(host="box:22", port=2200)
    assert after(argv, "-p") == "2200"


def test_home_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert after(words(key="~/.ssh/id"), "-i") == "/home/me/.ssh/id"


def test_where_somebody_can_be_asked_ssh_may_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.isatty", lambda handle: True)
    assert "BatchMode" not in settings(words())


@pytest.mark.parametrize(
    ("code", "said", "message", "may_pass"),
    [
        (255, "ssh: connect to host box port 22: Connection refused", "cannot be reached", True),
        (255, "ssh: connect to host box port 22: Connection timed out", "cannot be reached", True),
        (255, "ssh: connect to host box port 22: No route to host", "cannot be reached", True),
        (255, "kex_exchange_identification: Connection closed by remote host", "cannot be reached", True),
        (255, "Connection to box closed by remote host.", "cannot be reached", True),
        (255, "client_loop: send disconnect: Broken pipe", "cannot be reached", True),
        (255, "Timeout, server box not responding.", "cannot be reached", True),
        (255, "ssh: Could not resolve hostname box: Temporary failure in name resolution", "cannot be reached", True),
        (255, "", "exit code 255", True),
        (255, "ssh: Could not resolve hostname box: Name or service not known", "has no address", False),
        (255, "me@box: Permission denied (publickey,password).", "refuses to let us in", False),
        (255, "Received disconnect: Too many authentication failures", "refuses to let us in", False),
        (255, "No ED25519 host key is known.\nHost key verification failed.", "not known here", False),
        (255, "Bad owner or permissions on /home/me/.ssh/config", "cannot be connected to", False),
        (127, "bash: line 1: exec: python3: not found", "has no python3", False),
        (1, "mlmake needs Python 3.8 or newer here, and python3 is 3.6", "too old a Python", False),
        (1, "cannot write to /x: No space left on device", "no room for us", False),
        (1, "PermissionError: [Errno 13] Permission denied: '/x'", "ended our agent with exit code 1", False),
    ],
)
def test_what_failures_mean(code: int, said: str, message: str, may_pass: bool) -> None:
    error = ssh().explain(code, f"a banner\n{said}\n" if said else "")
    assert isinstance(error, HostUnavailable if may_pass else HostError)
    assert isinstance(error, HostUnavailable) is may_pass
    assert message in error.message
    assert "'box'" in error.message
    assert error.hint


def test_hints_can_be_typed_in() -> None:
    made = ssh(user="me", port=22, key="/my keys/id", config="/c")
    assert made.explain(255, "Connection refused").hint == (
        "try: ssh -F /c -l me -p 22 -i '/my keys/id' -o IdentitiesOnly=yes gpubox true"
    )


def test_a_changed_key_names_its_line() -> None:
    said = (
        "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nOffending ED25519 key in /home/me/.ssh/known_hosts:7\n"
    )
    error = ssh().explain(255, said)
    assert "(line 7 of /home/me/.ssh/known_hosts)" in error.message
