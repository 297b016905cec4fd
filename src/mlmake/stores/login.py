"""How an SFTP datastore is reached: its options, and what the user's SSH configuration says of the host."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import unquote, urlsplit

import paramiko

from mlmake.errors import StoreError
from mlmake.stores.trouble import told
from mlmake.stores.voice import Voice

_SYSTEM_HOSTS = "/etc/ssh/ssh_known_hosts"
_ALIVE = 30
_LOGGER = logging.getLogger("paramiko")


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Who connects to which host, and which keys of it are known.

    Attributes:
        host: address or alias of `config`.
        known_hosts: files of host keys; a host that is in none of them is refused.
        key_filename: a private key; "" tries the agent and the usual files.
        config: an OpenSSH client configuration.
    """

    host: str
    port: int | None = None
    username: str = ""
    password: str = ""
    key_filename: str = ""
    passphrase: str = ""
    known_hosts: str = "~/.ssh/known_hosts"
    config: str = "~/.ssh/config"
    timeout: float = 15.0

    @classmethod
    def of(cls, url: str, options: Mapping[str, Any], voice: Voice) -> Login:
        """The login of `sftp://user@host:port/folder` with its options. Raises StoreError for an unknown option."""
        parts = urlsplit(url)
        known = {each.name for each in fields(cls)} - {"host"}
        if unknown := set(options) - known:
            hint = f"an SFTP datastore has: {', '.join(sorted(known))}"
            raise voice.error(StoreError, "", f"unknown option {', '.join(sorted(unknown))}", hint)
        found = {"port": parts.port, "username": unquote(parts.username or ""), "password": parts.password or ""}
        return cls(**{"host": parts.hostname or "", **found, **options})

    def arguments(self) -> dict[str, Any]:
        """What paramiko's `connect` is told: these options first, then what the configuration has for the host."""
        config = paramiko.SSHConfig()
        if os.path.exists(path := os.path.expanduser(self.config)):
            config = paramiko.SSHConfig.from_path(path)
        found = config.lookup(self.host)
        own_keys = [os.path.expanduser(self.key_filename)] if self.key_filename else found.get("identityfile")
        command = found.get("proxycommand")
        return {
            "hostname": found.get("hostname", self.host),
            "port": self.port or int(found.get("port", 22)),
            "username": self.username or found.get("user"),
            "password": self.password or None,
            "key_filename": own_keys,
            "passphrase": self.passphrase or None,
            "timeout": self.timeout,
            "banner_timeout": self.timeout,
            "auth_timeout": self.timeout,
            "sock": paramiko.ProxyCommand(command) if command and command != "none" else None,
        }


def connected(login: Login, voice: Voice) -> paramiko.SSHClient:
    """A connection whose host key is known. Raises StoreError."""
    if not _LOGGER.handlers:
        _LOGGER.addHandler(logging.NullHandler())  # paramiko logs what it raises, with a traceback, to the terminal
    client = paramiko.SSHClient()  # it refuses unknown hosts unless it is told otherwise
    for path in (_SYSTEM_HOSTS, os.path.expanduser(login.known_hosts)):
        if os.path.exists(path):
            client.load_system_host_keys(path)
    try:
        client.connect(**login.arguments())
    except Exception as error:
        client.close()
        raise _refusal(login, voice, error) from None
    if transport := client.get_transport():
        transport.set_keepalive(_ALIVE)
    return client


def _refusal(login: Login, voice: Voice, error: Exception) -> StoreError:
    if isinstance(error, paramiko.BadHostKeyException):
        hint = f"if the host really has a new key, replace its line in {login.known_hosts}"
        return voice.error(StoreError, "", f"the key of host {login.host} is not the known one", hint)
    if "not found in known_hosts" in str(error):
        hint = f"connect once with ssh, compare the fingerprint, and let it write {login.known_hosts}"
        return voice.error(StoreError, "", f"the key of host {login.host} is unknown: {error}", hint)
    if isinstance(error, paramiko.AuthenticationException):
        return voice.error(StoreError, "", f"access denied: {error}", voice.rights_hint())
    return told(voice, "", error)
