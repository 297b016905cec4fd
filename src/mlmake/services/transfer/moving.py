"""A transfer from its beginning to its end: list, compare, move what differs in batches, settle."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from mlmake.errors import StoreChanged, StoreMissing
from mlmake.home import Home, file_name
from mlmake.model.data import Location
from mlmake.services.transfer.arriving import Arriving
from mlmake.services.transfer.local_target import LocalTarget
from mlmake.services.transfer.sides import File, Sides
from mlmake.services.transfer.store_target import StoreTarget
from mlmake.services.transfer.tally import Tally
from mlmake.stores.base import Outcome, Progress

_TRIES = 3
"""How often a source is listed anew that is written to meanwhile."""
_BATCH_FILES, _BATCH_BYTES = 64, 64 << 20
"""What is under way at once; after each batch all of it is remembered."""


class Target(Protocol):
    """Where a transfer goes. All methods raise StoreError and OSError."""

    def has(self, file: File) -> bool:
        """Whether a file need not be moved; asked once for each, before anything is moved."""

    def check(self, files: Sequence[File]) -> None:
        """Raise what keeps the target from becoming just these files."""

    def bring(self, files: Sequence[File], progress: Progress) -> list[Outcome]:
        """Move files, and check them; for each None or its error."""

    def settle(self, files: Sequence[File]) -> None:
        """Make the target just these files, all of which are there."""


def move(sides: Sides, home: Home, sources: list[Location], target: Location, private: str) -> None:
    """Make `target` what the sources are. Raises StoreError, OSError."""
    arriving = Arriving(os.path.join(home.transfers, file_name(target.text)), sides)
    for number in range(_TRIES):
        try:
            _once(sides, sources, target, private, arriving)
        except (StoreChanged, StoreMissing) as error:
            if number == _TRIES - 1:
                raise
            print(f"{error.message}: looking again", flush=True)
        else:
            arriving.clear()
            return


def _once(sides: Sides, sources: list[Location], location: Location, private: str, arriving: Arriving) -> None:
    files = sides.files(sources, into_folder=location.is_folder)
    target = _opened(sides, location, private, arriving)
    target.check(files)
    moving = [file for file in files if not target.has(file)]
    tally = Tally(files, moving)
    tally.begin([file.name or location.text for file in moving])
    failures: list[Exception] = []
    for batch in _batches(moving):
        failed = [outcome for outcome in target.bring(batch, tally.moved) if outcome is not None]
        sides.save()
        tally.finished(len(batch) - len(failed))
        failures += failed
    _raise_worst(failures)
    target.settle(files)
    sides.save()
    tally.end()


def _opened(sides: Sides, location: Location, private: str, arriving: Arriving) -> Target:
    if location.is_remote:
        return StoreTarget(sides, sides.place(location), arriving, is_folder=location.is_folder)
    return LocalTarget(sides, location, private, arriving)


def _batches(files: Sequence[File]) -> Iterator[list[File]]:
    batch: list[File] = []
    size = 0
    for file in files:
        if batch and (len(batch) == _BATCH_FILES or size + file.entry.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(file)
        size += file.entry.size
    if batch:
        yield batch


def _raise_worst(failures: Sequence[Exception]) -> None:
    """Raise what looking again would not heal, if there is such; tell of all others."""
    if not failures:
        return
    lasting = [each for each in failures if not isinstance(each, StoreChanged | StoreMissing)]
    worst = (lasting or failures)[0]
    for each in failures[:20]:
        if each is not worst:
            print(f"  {each}", flush=True)
    if len(failures) > 20:
        print(f"  {len(failures)} files in all could not be moved", flush=True)
    raise worst
