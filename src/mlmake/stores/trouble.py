"""What a driver's exception means: wrong for ever, try again, not there, or this machine's own trouble."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from mlmake.errors import StoreError, StoreMissing, StoreUnavailable
from mlmake.stores.voice import Voice

_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENAMETOOLONG}
"""Errors of writing or opening files here; a server's lack of space is told by a status."""
_BUSY = {408, 425, 429, 500, 502, 503, 504}
_PASSING = (TimeoutError, ConnectionError, EOFError, socket.gaierror)
_PASSING_NAMES = {
    "ClientConnectionError",  # aiohttp
    "ClientPayloadError",
    "ConnectionClosedError",  # botocore
    "HTTPClientError",
    "FSTimeoutError",  # fsspec
    "IncompleteRead",
    "ServiceRequestError",  # azure
    "ServiceResponseError",
    "NoValidConnectionsError",  # paramiko
    "SSHException",
}
"""Classes of drivers that mean a lost or missing connection; by name, since the drivers may not be installed."""
_CLOSED = "Socket is closed"
"""All that paramiko says of a connection that ended: an OSError without a number."""
_LACKING_NAMES = {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ProfileNotFound"}
_NO_BUCKET = ("NoSuchBucket", "bucket does not exist", "ContainerNotFound", "container does not exist")


def is_ours(error: BaseException, path: str) -> bool:
    """Whether an error is about the file on this machine, not about the store."""
    if not isinstance(error, OSError):
        return False
    return error.filename in (path, path.encode()) or (error.errno in _OURS and status_of(error) is None)


def told(voice: Voice, key: str, error: BaseException) -> StoreError:
    """The error of a store that a driver's exception stands for."""
    if isinstance(error, StoreError):
        return error
    status = status_of(error)
    text = _text(error)
    if any(word in text for word in _NO_BUCKET):
        return voice.error(StoreError, "", f"no such bucket: {text}", f"make it, or correct datastore {voice.name}")
    if status in (401, 403) or (status is None and isinstance(error, PermissionError)):
        return voice.error(StoreError, key, f"access denied: {text}", voice.rights_hint())
    if _names(error) & _LACKING_NAMES:
        return voice.error(StoreError, key, f"no credentials: {text}", voice.rights_hint())
    if status in _BUSY:
        return voice.error(StoreUnavailable, key, text, voice.unavailable_hint())
    if status == 404 or isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return voice.error(StoreMissing, key, "is not there")
    if isinstance(error, NotImplementedError):
        return voice.error(StoreError, key, "a store of this kind cannot do that", "take another store")
    return voice.error(StoreError, key, text, voice.rights_hint())


def status_of(error: BaseException) -> int | None:
    """The HTTP status that an exception came from, if one; 503 for a connection that is lost or was never made."""
    for each in _chain(error):
        if isinstance(each, _PASSING) or _names(each) & _PASSING_NAMES or str(each) == _CLOSED:
            return 503
        if (status := _own_status(each)) is not None:
            return status
    return None


def _own_status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return _number(response.get("ResponseMetadata", {}).get("HTTPStatusCode"))
    names = ("status", "status_code", "code")
    return next((status for name in names if (status := _number(getattr(error, name, None))) is not None), None)


def _number(value: object) -> int | None:
    is_status = isinstance(value, int | str) and str(value).isdigit() and 100 <= int(value) < 600
    return int(str(value)) if is_status else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from, at most ten."""
    each: BaseException | None = error
    for _ in range(10):
        if each is None:
            return
        yield each
        each = each.__cause__ or each.__context__


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _text(error: BaseException) -> str:
    """One line: the exception's text, or its kind where it has none."""
    if isinstance(error, FileNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # the web driver says "not found", and names the URL, whatever happened
    return " ".join(str(error).removeprefix("[Errno None] ").split()) or type(error).__name__
