"""A datastore's declaration -> its store. Secrets are filled in here, and nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mlmake.errors import StoreError
from mlmake.registry import DRIVES, Registry
from mlmake.stores.base import Store
from mlmake.stores.voice import Voice

if TYPE_CHECKING:
    from mlmake.stores.patience import Patience

_STORE = Registry("store", "", {"drive": "mlmake.stores.store:DriveStore"})
"""Loaded on use: a build with nothing to fetch pays for none of it."""

FILLED = re.compile(r"\$\{env:(?P<name>[^}]*)\}")
"""Where a variable of the environment is filled in."""
_SECRET = re.compile(r"secret|password|passphrase|token|credential|account_key|connection_string|sas", re.IGNORECASE)


def open_store(
    name: str,
    url: str,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    patience: Patience | None = None,
) -> Store:
    """The store of a datastore: `url` is a folder or any URL of fsspec.

    `${env:NAME}` in the url and the options is filled from `environ`; no message shows what came from there.
    Nothing is connected yet. Raises StoreError for a missing variable or driver, or options that the driver refuses.
    """
    voice = Voice(name=name, url=url, secrets=tuple(_secrets(url, options, environ)))
    place = _fill(url, "url", environ, voice)
    own = {key: _fill(value, key, environ, voice) for key, value in options.items()}
    scheme = place.partition("://")[0] if "://" in place else "file"
    known = DRIVES.table.get(scheme) or scheme in DRIVES.names()
    try:
        drive = DRIVES.load(scheme if known else "fsspec")(place, own, voice)
    except ModuleNotFoundError as error:
        raise voice.no_driver(scheme, error) from None
    store: Store = _STORE.load("drive")(drive, patience=patience)
    return store


def _fill(value: Any, key: str, environ: Mapping[str, str], voice: Voice) -> Any:
    """A value with its variables filled in, also in lists and tables. Raises StoreError."""
    if isinstance(value, str):
        return FILLED.sub(lambda match: _value(match["name"], key, environ, voice), value)
    if isinstance(value, Mapping):
        return {name: _fill(each, f"{key}.{name}", environ, voice) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_fill(each, key, environ, voice) for each in value]
    return value


def _value(name: str, key: str, environ: Mapping[str, str], voice: Voice) -> str:
    if name not in environ:
        what = f"{key} needs the environment variable {name}, which is not set"
        raise voice.error(StoreError, "", what, f"export {name}=…, then run the same command again")
    return environ[name]


def _secrets(url: str, options: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[str]:
    """Every value that must not be shown: what comes from the environment, and what its key calls a secret."""
    for key, text in (("url", url), *_texts("", options)):
        for match in FILLED.finditer(text):
            if match["name"] in environ:
                yield environ[match["name"]]
        if _SECRET.search(key) and not FILLED.search(text):
            yield text


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(str(name), each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(key, each)
