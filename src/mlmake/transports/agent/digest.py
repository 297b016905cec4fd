"""xxh3_128 where a host can compute it: by the module xxhash, or by the system's libxxhash."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

try:
    from xxhash import xxh3_128 as _module
except ImportError:
    _module = None  # type: ignore[assignment,misc]  # most hosts have no such module

_BLOCK = 1 << 20
_NAMES = ("libxxhash.so.0", "libxxhash.0.dylib", "/opt/homebrew/lib/libxxhash.0.dylib")
"""Not by ctypes.util, which asks a compiler: that takes longer than everything else at the start."""
_FIRST = 800
"""The number of libxxhash 0.8.0, from which on XXH3 is final."""


class _Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


class _Native:
    """libxxhash's streaming interface, in the shape of hashlib's."""

    def __init__(self, library: Any) -> None:
        self._library = library
        self._state = library.XXH3_createState()
        library.XXH3_128bits_reset(self._state)

    def update(self, block: bytes) -> None:
        self._library.XXH3_128bits_update(self._state, block, len(block))

    def hexdigest(self) -> str:
        value = self._library.XXH3_128bits_digest(self._state)
        return f"{value.high:016x}{value.low:016x}"

    def __del__(self) -> None:
        self._library.XXH3_freeState(self._state)


def hasher() -> Callable[[], Any] | None:
    """What makes a new xxh3_128; None where this host has none."""
    if _module is not None:
        return _module
    library = _library()
    return None if library is None else lambda: _Native(library)


def of_file(path: str, make: Callable[[], Any]) -> str:
    """The digest of a file's content. Raises OSError."""
    hash_ = make()
    with open(path, "rb", buffering=0) as file:
        while True:
            block = file.read(_BLOCK)
            if not block:
                return str(hash_.hexdigest())
            hash_.update(block)


def _library() -> Any:
    for name in _NAMES:
        try:
            library = ctypes.CDLL(name)
            if library.XXH_versionNumber() < _FIRST:
                continue
            library.XXH3_createState.restype = ctypes.c_void_p
            library.XXH3_freeState.argtypes = [ctypes.c_void_p]
            library.XXH3_128bits_reset.argtypes = [ctypes.c_void_p]
            library.XXH3_128bits_update.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
            library.XXH3_128bits_digest.argtypes = [ctypes.c_void_p]
            library.XXH3_128bits_digest.restype = _Hash128
            return library
        except (OSError, AttributeError):
            continue
    return None
