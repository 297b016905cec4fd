"""The text of a path -> a `Location`: project file, datastore path or URL."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from mlmake.config.problems import Wrong, listed, show
from mlmake.errors import nearest
from mlmake.home import FOLDER
from mlmake.model.data import Datastore, Location

NAME = re.compile(r"\w[\w-]{0,99}")
"""A legal name of a pipeline, step, input, datastore and so on."""
NAME_RULE = "use letters, digits, _ and -, at most 100"

# fsspec's protocols; a test holds this list against the installed fsspec, which is too slow to import here.
# fmt: off
SCHEMES = frozenset([
    "abfs", "abfss", "adl", "arrow_hdfs", "async_wrapper", "asynclocal", "asyncwrapper", "az", "blockcache", "box",
    "cached", "data", "dask", "dbfs", "dir", "dropbox", "dvc", "file", "filecache", "ftp", "gcs", "gdrive", "generic",
    "gist", "git", "github", "gs", "hdfs", "hf", "http", "https", "jlab", "jupyter", "lakefs", "libarchive",
    "local", "memory", "oci", "ocilake", "oss", "pyscript", "reference", "root", "s3", "s3a", "sftp",
    "simplecache", "smb", "ssh", "tar", "tos", "tosfs", "wandb", "webdav", "webhdfs", "zip",
])
# fmt: on
_GLOB = re.compile(r"[*?]|\[[^\]]+\]")
_URL = re.compile(r"(?P<chain>(?:[\w+.-]+::)*)(?P<name>\w[\w+.-]*)://(?P<rest>.*)", re.DOTALL)
_HERE = ("file", "local")
_UNCLEAN = re.compile(r"\./|//|[./]\Z")
_LONGEST = 4000
_DECLARE = "declare its folder under [datastores] and write name://path"


def locate(text: str, root: str, stores: Mapping[str, Datastore], globs: bool = False) -> Location:
    """The location that `text` names in the project at `root`. Raises Wrong."""
    if not text.strip() or "\0" in text:
        raise Wrong("a path cannot hold a NUL character" if text.strip() else "a path cannot be empty")
    if "://" not in text:
        _check_colon(text, stores)
        return _in_folder(root, text, "", root, globs)
    url = _URL.fullmatch(text)
    if url is None:
        raise Wrong(f"{show(text)} is no path: before :// stands a datastore or a URL scheme")
    _check_secret(url)
    name = url["name"]
    if name in stores and not url["chain"]:
        return _in_store(stores[name], url["rest"], text, root, globs)
    if name in SCHEMES:
        return _of_url(text, url, root, globs)
    near = nearest(name[:50], sorted({*stores, *SCHEMES}))
    known = "" if near else f"; known: {listed(stores) or 'none'}, and URLs such as s3://"
    raise Wrong(f"unknown datastore {show(name)} in {show(text)}{known}", near)


def _check_secret(url: re.Match[str]) -> None:
    """A password in a URL would be written into the state and shown. Raises Wrong, without showing it."""
    if _has_password(url):
        raise Wrong(
            f"a {url['name']}:// URL holds a password, which would be written and shown: declare a datastore with "
            "the password as an option, filled by ${env:NAME}"
        )


def check_address(address: str) -> None:
    """The same for a server that is no datastore. Raises Wrong."""
    url = _URL.fullmatch(address)
    if url and _has_password(url):
        raise Wrong("the address holds a password, which would be written and shown: fill the address by ${env:NAME}")


def _has_password(url: re.Match[str]) -> bool:
    user, at, _ = url["rest"].partition("/")[0].rpartition("@")
    return bool(at) and ":" in user


def datastore(name: str, url: str, options: Mapping[str, object]) -> Datastore:
    """A datastore at a folder or URL. Raises Wrong."""
    if not url.strip() or "\0" in url:
        raise Wrong(f"expected a folder or a URL, got {show(url)}")
    match = _URL.fullmatch(url)
    if match:
        _check_secret(match)
    scheme = match["name"] if match else ""
    if match and scheme not in SCHEMES:
        near = nearest(scheme[:50], SCHEMES)
        known = "" if near else ": it is none that fsspec knows, such as s3, gs, abfs, sftp, https"
        raise Wrong(f"unknown URL scheme {show(scheme)} in {show(url)}{known}", near)
    if match and scheme in _HERE and not match["chain"]:
        url = f"file://{match['rest']}"
    if not match:
        _check_colon(url, {})
    return Datastore(name, url, options)


def shared_store(text: str, root: str, stores: Mapping[str, Datastore]) -> Datastore:
    """The place of the shared cache: a URL or a path on a datastore, with the datastore's options. Raises Wrong."""
    url = _URL.fullmatch(text)
    if url is None:
        near = f"file://{text}" if text.startswith("/") else ""
        raise Wrong(f"expected a URL such as s3://… or a path on a datastore, got {show(text)}", near)
    location = locate(text if url["rest"] else f"{text}.", root, stores)
    store = stores.get(url["name"]) if not url["chain"] else None
    place = location.path if location.is_remote else f"file://{location.path}"
    return Datastore("cache", place, store.options if store else {})


def store_folder(store: Datastore, root: str) -> str:
    """The absolute folder of a local datastore."""
    return os.path.normpath(os.path.join(root, os.path.expanduser(store.url.removeprefix("file://"))))


def is_glob(text: str) -> bool:
    """Whether a path has wildcards; brackets alone may be part of a name, as in `fit[fold=0]`."""
    return "*" in text or "?" in text


def _check_colon(text: str, stores: Mapping[str, Datastore]) -> None:
    if ":" not in text:
        return
    name, _, rest = text.partition(":")
    if name in stores or name in SCHEMES:
        raise Wrong(f"{show(text)} has a colon but no ://", f"{name}://{rest.lstrip('/')[:60]}")


def _in_store(store: Datastore, rest: str, text: str, root: str, globs: bool) -> Location:
    if not store.is_remote:
        return _in_folder(store_folder(store, root), rest or ".", store.name, root, globs)
    clean = _clean(rest or ".", store.name, root)
    is_folder = clean == "." or rest.endswith("/")
    base, pattern = _split_glob(clean) if globs else (clean, "")
    path = "/".join(part for part in (store.url.rstrip("/"), base) if part not in ("", "."))
    return Location(_named(clean, store.name, is_folder), path, is_folder, pattern, is_remote=True)


def _of_url(text: str, url: re.Match[str], root: str, globs: bool) -> Location:
    if not url["rest"].strip("/"):
        raise Wrong(f"{show(text)} names no file")
    if url["name"] in _HERE and not url["chain"]:
        return _in_file_url(text, url["rest"], root, globs)
    is_folder = text.endswith("/")
    splits = globs and url["name"] not in ("http", "https")
    base, pattern = _split_glob(text.rstrip("/")) if splits else (text.rstrip("/"), "")
    return Location(text=text, path=base, is_folder=is_folder, pattern=pattern, is_remote=True)


def _in_file_url(text: str, rest: str, root: str, globs: bool) -> Location:
    if not rest.startswith("/"):
        raise Wrong(f"{show(text)} is no absolute path: write file:///folder/file, or a path in the project")
    found = _in_folder("/", rest.lstrip("/"), "", root, globs)
    return Location(f"file:///{found.text}", found.path, found.is_folder, found.pattern)


def _in_folder(folder: str, path: str, store: str, root: str, globs: bool) -> Location:
    """A path below a folder on this machine: the project's (`store` is "") or a datastore's."""
    clean = _clean(path, store, root)
    is_folder = path.endswith("/") or clean == "."
    base, pattern = _split_glob(clean) if globs else (clean, "")
    place = folder if base in ("", ".") else f"{folder.rstrip('/')}/{base}"
    if FOLDER in place and f"{place}/".startswith(f"{root.rstrip('/')}/{FOLDER}/"):
        raise Wrong(f"{show(_named(clean, store, False))} is in {FOLDER}/, which belongs to mlmake")
    return Location(_named(clean, store, is_folder), place, is_folder, pattern)


def _named(clean: str, store: str, is_folder: bool) -> str:
    if store and clean == ".":
        return f"{store}://"
    return f"{f'{store}://' if store else ''}{clean}{'/' if is_folder else ''}"


def _clean(path: str, store: str, root: str) -> str:
    """A relative path without `.`, `..` and doubled slashes. Raises Wrong where it leads out of its folder."""
    if path.startswith(("/", "~")):
        raise _not_relative(path, store, root)
    clean = os.path.normpath(path) if _UNCLEAN.search(path) else path
    if clean == ".." or clean.startswith("../"):
        what = f"datastore {store!r}" if store else "the project"
        raise Wrong(f"{_said(path, store)} leaves {what}", move=_DECLARE)
    if len(clean) > 60 and (len(clean.encode()) > _LONGEST or max(map(_bytes, clean.split("/"))) > 255):
        raise Wrong(f"{_said(path, store)} is longer than a file's name can be")
    return clean


def _not_relative(path: str, store: str, root: str) -> Wrong:
    said = _said(path, store)
    if store:
        return Wrong(f"{said} is no path below datastore {store!r}", f"{store}://{path.lstrip('/~')[:60]}")
    if path.startswith(f"{root}/"):
        return Wrong(f"{said} is absolute", os.path.relpath(path, root))
    return Wrong(f"{said} is outside the project", move=_DECLARE)


def _said(path: str, store: str) -> str:
    return show(f"{store}://{path}" if store else path)


def _bytes(name: str) -> int:
    return len(name.encode())


def _split_glob(path: str) -> tuple[str, str]:
    """The folder that a glob starts in, and the rest from its first part with a wildcard: "" if it has none."""
    if not _GLOB.search(path):
        return path, ""
    parts = path.split("/")
    first = next((index for index, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])
