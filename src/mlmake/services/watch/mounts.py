"""File systems that tell nothing of what others write into them: there one has to look."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

_TABLE = "/proc/self/mountinfo"
_SILENT = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "9p", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2"),
    *("vboxsf", "prl_fs", "drvfs", "virtiofs", "fuse"),
}
_FUSE = "fuse."
"""What a program serves, such as `fuse.sshfs`; `fuseblk` is a disk."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


def silent_mounts(table: str | None = None) -> tuple[str, ...]:
    """Where such file systems are mounted; () where the system does not say."""
    if table is None:
        try:
            with open(_TABLE, encoding="utf-8", errors="surrogateescape") as file:
                table = file.read()
        except OSError:
            return ()
    return tuple(place for place, kind in _mounts(table) if kind in _SILENT or kind.startswith(_FUSE))


def is_below(folder: str, mounts: Iterable[str]) -> bool:
    """Whether a folder lies in one of these places."""
    return any(folder == mount or folder.startswith(f"{mount.rstrip('/')}/") for mount in mounts)


def _mounts(table: str) -> Iterable[tuple[str, str]]:
    """Place and kind of what is mounted: of several in one place, the last counts."""
    found = {}
    for line in table.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) > 4:
            place = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields[4])
            found[os.path.normpath(place)] = after.split(" ")[0]
    return found.items()
