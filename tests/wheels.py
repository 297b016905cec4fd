"""Small packages for tests: wheels, made here, so that nothing is fetched from anywhere."""

from __future__ import annotations

import io
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from servers import lack

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""A version of Python that every machine has that runs the tests."""


def wheel_name(name: str, version: str) -> str:
    return f"{name}-{version}-py3-none-any.whl"


def wheel(name: str, version: str, needs: tuple[str, ...] = (), code: Mapping[str, str] | None = None) -> bytes:
    """A wheel of a package that knows its `VERSION`; `code` are further files of it."""
    about = f"{name}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in needs]
    files = {
        f"{name}/__init__.py": f'VERSION = "{version}"\n',
        **{f"{name}/{path}": text for path, text in (code or {}).items()},
        f"{about}/METADATA": "\n".join([*metadata, ""]),
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return content.getvalue()


def uv() -> str:
    """The program; the test is skipped where it is absent."""
    found = shutil.which("uv", path=f"{Path(sys.executable).parent}") or shutil.which("uv")
    if found is None:
        lack("uv is not installed")
    assert found
    return found
