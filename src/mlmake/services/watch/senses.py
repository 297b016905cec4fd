"""How a watch comes to know of changes: it listens where the kernel tells, and looks now and then where it does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from mlmake.services.watch.ears import Ears, Tell
from mlmake.services.watch.mounts import is_below, silent_mounts
from mlmake.services.watch.post import Post

if sys.platform == "linux":
    from mlmake.services.watch.inotify import Inotify as Native
else:
    from mlmake.services.watch.observed import Observed as Native


class Senses:
    """Ears for what can be heard.

    Attributes:
        looks: whether there is something that can only be looked at.
    """

    def __init__(self, tell: Tell, *, only_looks: bool) -> None:
        self._tell = tell
        self._ears: Ears | None = None if only_looks else Native(tell)
        self._unheard: set[str] = set()
        self.looks = only_looks

    def follow(self, posts: Sequence[Post]) -> bool:
        """Hear what these need as their folders are now; whether something is new, which has to be looked at.

        Raises UsageError at the kernel's limit.
        """
        is_new = any([post.refresh() for post in posts])  # noqa: C419 all of them
        if self._ears is None:
            return is_new
        wanted: dict[str, bool] = {}
        for post in posts:
            for folder, is_full in post.interest.folders.items():
                wanted[folder] = is_full or wanted.get(folder, False)
        mounts = silent_mounts()
        silent = {folder for folder in wanted if is_below(folder, mounts)} if mounts else set[str]()
        fresh, deaf = self._ears.listen({folder: full for folder, full in wanted.items() if folder not in silent})
        self._unheard = silent | {folder for folder in deaf if wanted[folder] and os.path.isdir(folder)}
        self.looks = bool(self._unheard)
        for post in posts:
            post.suspect(row for folder in fresh for row in post.interest.rows_in(folder))
        return is_new or bool(fresh)

    def look(self, posts: Sequence[Post]) -> bool:
        """Look at what cannot be heard; whether something has changed there."""
        for post in posts:
            if self._ears is None:
                post.suspect_all()
            else:
                post.suspect(row for folder in self._unheard for row in post.interest.rows_in(folder))
        return any(post.changed() for post in posts)

    def start_over(self) -> None:
        """Hear everything anew: there was more than the kernel could tell."""
        if self._ears is not None:
            self._ears.close()
            self._ears = Native(self._tell)

    def close(self) -> None:
        if self._ears is not None:
            self._ears.close()
