"""The agent as one file, named by its content, and the words that start it on a host."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

_ABOVE = "from mlmake_agent.entry import main; main()\n"
_BEGINNING = (1980, 1, 1, 0, 0, 0)
"""The first date that a zip file knows: the file's name must depend on nothing but what is in it."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """The agent: a zip file that Python runs."""

    name: str
    content: bytes

    def command(self, python: str, root: str, greeting: str) -> tuple[str, ...]:
        """What starts the agent where `python` is; the first word is a program."""
        return (python, "-c", _boot(), root, self.name, str(len(self.content)), greeting)


@lru_cache(maxsize=1)
def parcel() -> Parcel:
    """The agent of this version of mlmake."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        texts = {"__main__.py": _ABOVE, **{f"mlmake_agent/{module}": _text(module) for module in sorted(_modules())}}
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _BEGINNING), text, zipfile.ZIP_DEFLATED)
    content = packed.getvalue()
    return Parcel(f"{hashlib.sha256(content).hexdigest()[:32]}.pyz", content)


def _modules() -> list[str]:
    return [each.name for each in files("mlmake.transports.agent").iterdir() if each.name.endswith(".py")]


def _text(module: str) -> str:
    return files("mlmake.transports.agent").joinpath(module).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _boot() -> str:
    """The starter as one line without quotes of a shell's kind: the user's login shell on the host reads it first."""
    packed = base64.b64encode(zlib.compress(_text("boot.py").encode(), 9)).decode()
    return f'import base64,zlib;exec(zlib.decompress(base64.b64decode("{packed}")))'
