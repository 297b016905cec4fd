"""Small things done to files so that others see all of them or nothing."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
from typing import IO, Any

_FICLONE = 0x40049409
"""Linux's ioctl that lets two files share their blocks (include/uapi/linux/fs.h)."""
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP)


def write_json(path: str, value: Any) -> None:
    """Write a file that appears whole. Raises OSError."""
    write(path, json.dumps(value).encode())


def write(path: str, content: bytes) -> None:
    """Write a file that appears whole; nothing of it stays where it cannot. Raises OSError."""
    new = f"{path}.new-{os.getpid()}"
    try:
        with open(new, "wb") as file:
            file.write(content)
        os.replace(new, path)
    except OSError:
        remove(new)
        raise


def read_json(path: str) -> Any:
    """What a file says; None if it is not there or cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def lock(path: str, *, is_patient: bool, is_shared: bool = False) -> IO[bytes] | None:
    """A lock that ends with this process at the latest, however it ends; None if another has it. Raises OSError."""
    file = open(path, "ab")  # noqa: SIM115 - it stays open as long as the lock is held
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | (0 if is_patient else fcntl.LOCK_NB))
        return file
    except OSError:
        file.close()
        return None


def is_locked(path: str) -> bool:
    """Whether somebody holds a lock."""
    if not os.path.exists(path):
        return False
    held = lock(path, is_patient=False)
    if held is None:
        return True
    held.close()
    return False


def lock_gpu(folder: str, gpu: int) -> IO[bytes] | None:
    """Take a GPU, by index, from all others that look into the same folder; None if one of them has it."""
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return lock(os.path.join(folder, str(gpu)), is_patient=False)


def share(source: str, target: str) -> None:
    """Give a file a second name; where that cannot be, copy it. Raises OSError."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(source, target)


def clone(source: str, target: str) -> bool:
    """Make a file that shares another's blocks; False where the file system cannot. Raises OSError for all else."""
    with open(source, "rb") as old, open(target, "xb") as new:
        try:
            fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
            return True
        except OSError:
            pass
    os.unlink(target)
    return False


def remove(path: str) -> None:
    """Remove a file or folder, read-only folders in it too, or nothing."""
    if os.path.islink(path) or not os.path.isdir(path):
        with contextlib.suppress(OSError):
            os.unlink(path)
        return
    shutil.rmtree(path, ignore_errors=True)
    if os.path.lexists(path):
        for folder, _, _ in os.walk(path):
            with contextlib.suppress(OSError):
                os.chmod(folder, 0o700)
        shutil.rmtree(path, ignore_errors=True)
