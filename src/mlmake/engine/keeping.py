"""Into the cache and out of it: what a step wrote, while it is still in its private place."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress

import xxhash

from mlmake.engine.staging import Stage
from mlmake.model.caching import Link
from mlmake.model.run import Item
from mlmake.state.cache import Action, Cache, Kept
from mlmake.state.digests import Digests
from mlmake.state.objects import link_or_copy, parsed


def keep(cache: Cache, stage: Stage, items: Sequence[Item], digests: Digests) -> tuple[Kept, ...] | None:
    """Keep what a step wrote; None if nothing of it is to be kept. Raises OSError."""
    outputs = stage.step.outputs
    wanted = [stage.step.spec.caches(output.name) for output in outputs]
    if not any(wanted):
        return None
    for output, item, is_wanted in zip(outputs, items, wanted, strict=True):
        if is_wanted:
            _keep(cache, stage.outputs[output.name], item.digest, digests)
    return tuple(
        Kept(output.name, item.digest, item.size, is_wanted)
        for output, item, is_wanted in zip(outputs, items, wanted, strict=True)
    )


def _keep(cache: Cache, path: str, digest: str, digests: Digests) -> None:
    if not os.path.isdir(path):
        _keep_file(cache, path, digest)
        return
    if cache.objects.has(digest):
        return
    listing = digests.listing(path)
    if xxhash.xxh3_128_hexdigest(listing) != digest:
        raise OSError(errno.EIO, "it changed while it was copied into the cache", path)
    for member in parsed(listing):
        if member.digest:
            _keep_file(cache, os.path.join(path, member.path), member.digest)
    cache.objects.keep_text(listing, digest)


def _keep_file(cache: Cache, path: str, digest: str) -> None:
    """Keep one file. With a symlink, the file gives its place to a link into the cache."""
    cache.objects.keep(path, digest, cache.policy.link)
    if cache.policy.link is Link.SYMLINK and not os.path.islink(path):
        is_executable = bool(os.stat(path).st_mode & 0o100)
        os.unlink(path)
        cache.objects.bring_file(digest, path, Link.SYMLINK, is_executable)


def bring(cache: Cache, stage: Stage, action: Action) -> None:
    """Put what an action wrote into a step's places. Raises OSError. Whoever calls hashes what came."""
    places = {output.name: output.location for output in stage.step.outputs}
    for kept in action.outputs:
        private = stage.outputs[kept.name]
        if kept.is_kept and cache.objects.has(kept.digest):
            with suppress(OSError):
                os.rmdir(private)  # made for a step that writes into it
            is_folder = places[kept.name].is_folder
            cache.objects.bring(kept.digest, private, cache.policy.link, is_folder=is_folder)
        else:
            _linked(places[kept.name].path, private)


def _linked(source: str, target: str) -> None:
    """What stands in its place already, under a second name."""
    if os.path.isdir(source):
        shutil.copytree(source, target, copy_function=link_or_copy, dirs_exist_ok=True)
    else:
        link_or_copy(source, target)
