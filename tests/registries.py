"""A real registry of images on this machine's loopback: Debian's docker-registry. Where it is absent, see `lack`."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt

from engines import programs
from servers import HOST, ended, free_port, lack, listens


@dataclass(frozen=True)
class Registry:
    """A registry of images on loopback; with a login it lets only that in."""

    address: str
    folder: Path

    USER = "reader"
    PASSWORD = "s3cret-9f2c"

    @property
    def login(self) -> dict[str, str]:
        """Variables by which the docker program finds a configuration with the login."""
        folder = self.folder / "docker"
        folder.mkdir(exist_ok=True)
        auth = base64.b64encode(f"{self.USER}:{self.PASSWORD}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.address: {"auth": auth}}}))
        return {"DOCKER_CONFIG": str(folder)}


@contextmanager
def registry(folder: Path, *, with_login: bool = False) -> Iterator[Registry]:
    """A registry whose images lie in `folder`."""
    program = shutil.which("docker-registry", path=programs())
    if program is None:
        lack("Debian's docker-registry is not installed")
    port = free_port()
    settings: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"{HOST}:{port}"},
    }
    if with_login:
        hashed = bcrypt.hashpw(Registry.PASSWORD.encode(), bcrypt.gensalt(4)).decode()
        (folder / "htpasswd").write_text(f"{Registry.USER}:{hashed}\n")
        settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
    (folder / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([str(program), "serve", str(folder / "registry.yml")], stdout=log, stderr=log)
    with ended(process):
        assert listens(port, process), (folder / "registry.log").read_text()
        yield Registry(f"{HOST}:{port}", folder)
