"""What has arrived of a transfer and waits for its place: kept by version, so that a break costs little."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from mlmake.errors import StoreError
from mlmake.services.transfer.checks import check_read
from mlmake.services.transfer.sides import File, Sides
from mlmake.state.digests import Digest
from mlmake.state.hashing import hash_file
from mlmake.stores.base import Fetch, Outcome, Progress


class Arriving:
    """A folder of this machine that files come to first. A file that is there was checked when it came."""

    def __init__(self, folder: str, sides: Sides) -> None:
        self._folder = folder
        self._sides = sides

    def path(self, file: File) -> str:
        """Where a version of a file arrives."""
        return os.path.join(self._folder, file.label)

    def has(self, file: File) -> bool:
        """Whether it is there, whole; it is read to know."""
        path, known = self.path(file), self._sides.digest(file)
        return known is not None and os.path.exists(path) and hash_file(path)[0] == known.digest

    def fetch(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        """Bring files of one store; what came is checked and remembered."""
        known = [self._sides.digest(file) if file.path else None for file in files]
        wanted = [Fetch(key=file.entry.key, target=self.path(file), entry=file.entry) for file in files]
        outcomes = list(files[0].store.get_many(wanted, progress))
        for index, file in enumerate(files):
            if outcomes[index] is None:
                outcomes[index] = self._checked(file, known[index])
        return outcomes

    def clear(self) -> None:
        """Nothing is waited for any more."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _checked(self, file: File, known: Digest | None) -> Outcome:
        try:
            found = check_read(file, known, self.path(file))
        except (StoreError, OSError) as error:
            return error
        if not file.path:
            self._sides.learn(file.url, file.entry, found)
        return None
