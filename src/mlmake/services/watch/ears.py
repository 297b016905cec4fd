"""Ears: who hears what happens in folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from mlmake.services.watch.interest import Heard


@dataclass(frozen=True, slots=True)
class Lost:
    """Something may have been missed: a folder has gone or moved away, or there was too much to tell (no folder)."""

    folder: str = ""


Tell = Callable[[Heard | Lost], None]


class Ears(Protocol):
    """Hears what happens in folders.

    1. What happens is told from another thread, in order.
    2. What cannot be told is not passed over: `Lost` says so.
    """

    def listen(self, folders: Mapping[str, bool]) -> tuple[set[str], set[str]]:
        """Hear these and no others; those that are heard anew, and those that cannot be.

        The value says whether to hear of contents too, and not of names only. Raises UsageError at the kernel's limit.
        """

    def close(self) -> None: ...
