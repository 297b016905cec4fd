"""Environments on a host: a folder each, made by a job of its own, used by the steps of every project.

environments/KEY/               what steps run in
             KEY/.mlmake.json   its mark, written last: what its probe said, and traces of what that goes by
             KEY.lock           held by whoever makes it or removes it
             KEY.users          held by every agent whose mlmake uses it
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from typing import IO, Any

from . import files

FOREIGN = ("VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PIP_USER", "PIP_TARGET", "PIP_PREFIX")
"""Variables by which an installer would put things elsewhere."""
_SITES = "lib/py*/site-packages"
_ASKING = 60.0
"""Seconds within which an environment must have said what is in it."""


class Environments:
    """The environments under a root, as one agent uses them."""

    def __init__(self, root: str) -> None:
        self._folder = os.path.join(root, "environments")
        self._held: dict[str, IO[bytes]] = {}

    def look(self, key: str, probe: Sequence[str], traces: Sequence[str]) -> str:
        """What an environment says of itself, "" if it does not stand; nobody removes it as long as we live.

        It is asked anew where somebody has changed what is in it. Raises OSError.
        """
        if key not in self._held:
            self._held[key] = _locked(self._beside(key, "users"), is_shared=True)
        return stands(self.folder(key), probe, traces)

    def folder(self, key: str) -> str:
        return os.path.join(self._folder, os.path.basename(key))

    def all(self) -> list[str]:
        """The keys of all that are here, whole or not."""
        if not os.path.isdir(self._folder):
            return []
        return sorted(name for name in os.listdir(self._folder) if os.path.isdir(self.folder(name)))

    def clean(self, age: float, used: Collection[str]) -> list[str]:
        """Remove those that nobody has used for so many seconds, and what was never whole; the keys."""
        return [key for key in self.all() if key not in used and self._removed(key, age)]

    def _removed(self, key: str, age: float) -> bool:
        folder = self.folder(key)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for name in ("lock", "users"):
                held = files.lock(self._beside(key, name), is_patient=False)
                if held is None:
                    return False
                stack.enter_context(held)
            is_whole = os.path.exists(_mark(folder))
            if is_whole and time.time() - os.stat(_mark(folder)).st_mtime < age:
                return False
            remove(folder)
            for name in ("lock", "users"):
                os.unlink(self._beside(key, name))
        return not os.path.lexists(folder)

    def _beside(self, key: str, name: str) -> str:
        os.makedirs(self._folder, exist_ok=True)
        return f"{self.folder(key)}.{name}"


def main(order: str) -> int:
    """Make an environment, as the job that was told so; its exit code."""
    told = json.loads(order)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    for name in FOREIGN:
        os.environ.pop(name, None)
    try:
        os.makedirs(os.path.dirname(told["folder"]), exist_ok=True)
        with _locked(f"{told['folder']}.lock"):
            return make(told["folder"], told["commands"], told["probe"], told["traces"])
    except OSError as error:
        print(f"{error.strerror}: {error.filename}", flush=True)
        return 1


def make(folder: str, commands: Sequence[Sequence[str]], probe: Sequence[str], traces: Sequence[str]) -> int:
    """Make an environment unless another has made it meanwhile; nothing half-made is left. The failed one's code."""
    if stands(folder, probe, traces):
        return 0
    remove(folder)
    is_made = False
    try:
        for argv in commands:
            print(f"$ {shlex.join(argv)}", flush=True)
            code = _code(argv)
            if code:
                return code
        is_made = _marked(folder, probe, traces) != ""
        return 0 if is_made else 1
    finally:
        if not is_made:
            remove(folder)


def stands(folder: str, probe: Sequence[str], traces: Sequence[str]) -> str:
    """What a whole environment says of itself; "" if there is none. It counts as used now."""
    mark = files.read_json(_mark(folder))
    if not mark:
        return ""
    if mark["traces"] != _traces(folder, traces):
        return _marked(folder, probe, traces)
    with contextlib.suppress(OSError):
        os.utime(_mark(folder))
    return str(mark["said"])


def remove(folder: str) -> None:
    """Remove an environment: its mark first, so that what is left of it is not believed."""
    files.remove(_mark(folder))
    files.remove(folder)


def _marked(folder: str, probe: Sequence[str], traces: Sequence[str]) -> str:
    """Ask an environment what is in it, and mark it as whole; "" and a word if it cannot say.

    Traces come first, so that what changes meanwhile shows later.
    """
    seen = _traces(folder, traces)
    try:
        said = subprocess.run(
            probe, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_ASKING, check=True
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.SubprocessError) as error:
        print(f"it does not say what is in it: {error}", file=sys.stderr, flush=True)
        return ""
    files.write_json(_mark(folder), {"said": said, "traces": seen})
    return said


def _code(argv: Sequence[str]) -> int:
    """Run one command to its end, its words among ours; its exit code as a shell would tell it."""
    try:
        code = subprocess.call(list(argv), stdin=subprocess.DEVNULL)
    except OSError as error:
        print(f"{argv[0]}: {error.strerror}", flush=True)
        return 127
    return code if code >= 0 else 128 - code


def _traces(folder: str, names: Sequence[str]) -> list[Any]:
    """What changes with what is installed: of files what `stat` says, of folders of packages a digest of the names."""
    found: list[Any] = [[name, _stat(os.path.join(folder, name))] for name in names]
    for site in sorted(glob.glob(os.path.join(glob.escape(folder), _SITES))):
        inside = "\0".join(sorted(name for name in os.listdir(site) if name != "__pycache__"))
        found.append([os.path.relpath(site, folder), hashlib.sha256(os.fsencode(inside)).hexdigest()])
    return found


def _stat(path: str) -> list[int]:
    try:
        status = os.stat(path)
    except OSError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def _mark(folder: str) -> str:
    return os.path.join(folder, ".mlmake.json")


def _locked(path: str, *, is_shared: bool = False) -> IO[bytes]:
    """A lock that ends with this process; not of a file that was removed while we waited. Raises OSError."""
    while True:
        held = files.lock(path, is_patient=True, is_shared=is_shared)
        if held is None:
            raise OSError(0, "cannot be locked", path)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held.fileno()), os.stat(path)):
                return held
        held.close()
