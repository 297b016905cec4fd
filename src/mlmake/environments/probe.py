"""Asking a host: which tools has it, and what has come into an environment? Two scripts, and the words to run them.

They travel as a word of the command line, so that they run wherever a Python of 3.8 or newer is, with nothing of ours
there. Both print one line of JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace

from mlmake.environments.base import Argv, Tools

_RESOLVED = """
import json, os, re, sys
from glob import escape, glob
from importlib import metadata

top = sys.argv[1]
sites = sorted(glob(escape(top) + "/lib/py*/site-packages"))
interpreter, packages = sys.implementation.name + " %d.%d.%d" % sys.version_info[:3], {}
for each in metadata.distributions(path=sites):
    try:
        name = re.sub("[-_.]+", "-", each.metadata["Name"]).lower()
        version = each.version
        source = json.loads(each.read_text("direct_url.json") or "{}")
    except Exception:
        continue
    commit = source.get("vcs_info", {}).get("commit_id")
    packages[name] = version + (" " + commit[:12] if commit else "")
packages.pop("pip", None)
metas = sorted(glob(escape(top) + "/conda-meta/*.json"))
interpreter = "" if metas else interpreter
for path in metas:
    with open(path, encoding="utf-8") as file:
        meta = json.load(file)
    packages[meta["name"]] = meta["version"]
    if meta["name"] == "python":
        interpreter = "cpython " + packages.pop("python")
print(json.dumps({"interpreter": interpreter, "packages": packages}))
"""
"""pip is left out: it installs what a step computes with, and computes nothing."""

_TOOLS = """
import json, os, subprocess, sys

wanted = sys.argv[1]
ASK = '''
import sys
print(getattr(sys, "_base_executable", "") or sys.executable)
print("%d.%d.%d" % sys.version_info[:3])
'''
HOME = os.path.expanduser("~")
PATH = os.get_exec_path()


def programs(names, folders):
    for name in names:
        for folder in folders:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                yield path


def first(said, names, folders):
    said = [path for path in said if path and os.access(path, os.X_OK)]
    return next(iter(said + list(programs(names, folders))), "")


def pythons():
    short = wanted.split(".")
    yield from programs(["python" + ".".join(short[:2])], PATH)
    root = os.path.join(os.environ.get("PYENV_ROOT") or os.path.join(HOME, ".pyenv"), "versions")
    names = sorted(os.listdir(root)) if os.path.isdir(root) else []
    ours = [name for name in names if (name + ".").startswith(wanted + ".")]
    others = [name for name in names if name not in ours]
    yield from programs(["python"], [os.path.join(root, name, "bin") for name in reversed(ours)])
    yield sys.executable
    yield from programs(["python3", "python"], PATH)
    yield from programs(["python"], [os.path.join(root, name, "bin") for name in others])


def asked(path):
    try:
        words = [path, "-I", "-c", ASK]
        said = subprocess.check_output(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20)
        real, version = said.decode().splitlines()
        return real, version
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


found, seen = "", []
for path in dict.fromkeys(pythons()) if wanted else ():
    real, version = asked(path) or ("", "")
    if (version + ".").startswith(wanted + "."):
        found, seen = real, seen + [version]
        break
    seen += [version] if version and version not in seen else []
near = PATH + [os.path.dirname(sys.executable)] + [os.path.join(HOME, name) for name in (".local/bin", ".cargo/bin")]
condas = [os.path.join(HOME, name, "bin") for name in ("miniforge3", "mambaforge", "miniconda3", "anaconda3")]
told = {
    "python": found,
    "pythons": seen,
    "uv": first([], ["uv"], near),
    "conda": first(
        [os.environ.get("MAMBA_EXE"), os.environ.get("CONDA_EXE")],
        ["micromamba", "mamba", "conda"],
        near + condas + ["/opt/conda/bin"],
    ),
}
print(json.dumps(told))
"""


def resolved(python: str, folder: str) -> Argv:
    """The command that says what is in an environment, in the shape that `Resolved.read` takes."""
    return (python, "-I", "-c", _RESOLVED, folder)


def look_for(own: str, version: str) -> Argv:
    """The command that looks for tools, and for a Python of a version if one is named; `tools_of` reads its words."""
    return (own, "-I", "-c", _TOOLS, version)


def tools_of(own: Tools, said: str) -> Tools:
    """What was found beside our own Python. Raises ValueError."""
    lines = said.strip().splitlines() or [""]
    try:
        told = json.loads(lines[-1])
        return replace(
            own,
            python=str(told["python"]),
            pythons=tuple(map(str, told["pythons"])),
            uv=str(told["uv"]),
            conda=str(told["conda"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"no list of tools: {lines[-1][:200]}") from error
