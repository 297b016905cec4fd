"""The text of a path -> a `Location`: project file, datastore path or URL."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from mlmake.config.build import Wrong
from mlmake.errors import nearest
from mlmake.home import FOLDER
from mlmake.model.data import Datastore, Location

NAME = re.compile(r"\w[\w-]*")
"""A legal name of a pipeline, step, input, datastore and so on."""

# fsspec's protocols; a test holds this list against the installed fsspec, which is too slow to import here.
SCHEMES = frozenset(
    [
        "abfs",
        "abfss",
        "adl",
        "arrow_hdfs",
        "asynclocal",
        "asyncwrapper",
        "az",
        "blockcache",
        "box",
        "cached",
        "data",
        "dask",
        "dbfs",
        "dir",
        "dropbox",
        "dvc",
        "file",
        "filecache",
        "ftp",
        "gcs",
        "gdrive",
        "generic",
        "gist",
        "git",
        "github",
        "gs",
        "hdfs",
        "hf",
        "http",
        "https",
        "jlab",
        "jupyter",
        "lakefs",
        "libarchive",
        "local",
        "memory",
        "oci",
        "ocilake",
        "oss",
        "pyscript",
        "reference",
        "root",
        "s3",
        "s3a",
        "sftp",
        "simplecache",
        "smb",
        "ssh",
        "tar",
        "tos",
        "tosfs",
        "wandb",
        "webdav",
        "webhdfs",
        "zip",
    ]
)
_GLOB = re.compile(r"[*?]|\[[^\]]+\]")
_URL = re.compile(r"([A-Za-z][\w+.-]*)://(.*)", re.DOTALL)


def locate(text: str, root: str, stores: Mapping[str, Datastore], globs: bool = False) -> Location:
    """The location that `text` names in the project at `root`. Raises Wrong."""
    if not text or "\0" in text:
        raise Wrong("a path cannot be empty" if not text else "a path cannot hold a NUL byte")
    url = _URL.fullmatch(text)
    if url is None:
        return _within(root, text, text, globs, "the project")
    name, rest = url.groups()
    if name in stores:
        return _in_store(stores[name], rest, text, root, globs)
    if name in SCHEMES:
        return Location(text=text, path=text, is_folder=text.endswith("/"), is_remote=True)
    near = nearest(name, [*stores, *SCHEMES])
    raise Wrong(f"unknown datastore {name!r} in {text!r}", near)


def store_folder(store: Datastore, root: str) -> str:
    """The absolute folder of a local datastore."""
    return os.path.normpath(os.path.join(root, os.path.expanduser(store.url.removeprefix("file://"))))


def _in_store(store: Datastore, rest: str, text: str, root: str, globs: bool) -> Location:
    if not store.is_remote:
        return _within(store_folder(store, root), rest or ".", text, globs, f"datastore {store.name!r}")
    base, pattern = _split_glob(rest) if globs else (rest, "")
    path = f"{store.url.rstrip('/')}/{base}"
    return Location(text=text, path=path, is_folder=text.endswith("/"), pattern=pattern, is_remote=True)


def _within(folder: str, path: str, text: str, globs: bool, what: str) -> Location:
    if path.startswith(("/", "~")):
        raise Wrong(f"{text!r} is outside {what}: declare its folder as a datastore and write name://path")
    clean = os.path.normpath(path)
    if clean == ".." or clean.startswith("../"):
        raise Wrong(f"{text!r} leaves {what}: declare its folder as a datastore and write name://path")
    if clean == FOLDER or clean.startswith(f"{FOLDER}/"):
        raise Wrong(f"{text!r} is in {FOLDER}/, which belongs to mlmake")
    is_folder = path.endswith("/") or clean == "."
    scheme = f"{text.partition('://')[0]}://" if "://" in text else ""
    base, pattern = _split_glob(clean) if globs else (clean, "")
    return Location(
        text=f"{scheme}{clean}{'/' if is_folder else ''}",
        path=os.path.normpath(os.path.join(folder, base)),
        is_folder=is_folder,
        pattern=pattern,
    )


def _split_glob(path: str) -> tuple[str, str]:
    """The folder that a glob starts in, and the rest from its first part with a wildcard; ("path", "") if it has none."""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _GLOB.search(part)), None)
    return (path, "") if first is None else ("/".join(parts[:first]), "/".join(parts[first:]))
