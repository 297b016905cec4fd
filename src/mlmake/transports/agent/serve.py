"""What an agent answers: one request after the other, and meanwhile the news of the jobs that it was asked to watch."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from . import digest, probe
from .jobs import Jobs
from .store import Damaged, Store
from .wire import Broken, Head, Pipe

_SOON, _LATER = 0.005, 0.05
"""Seconds between looks at the watched jobs: at first, and when nothing has been new for a while."""
_BLOCK = 1 << 20


class Agent:
    """One conversation."""

    def __init__(self, root: str, pipe: Pipe) -> None:
        self._root = root
        self._pipe = pipe
        self._make = digest.hasher()
        self._store = Store(root, self._make)
        self._jobs = Jobs(root, self._store)
        self._watch = _Watch(self._jobs, pipe)
        self._troubles: list[str] = []

    def run(self) -> None:
        """Answer until the other side is gone."""
        while True:
            frame = self._pipe.read()
            if frame is None:
                return
            head, body = frame
            answer = getattr(self, "do_" + head["op"])
            if head.get("quiet"):
                self._keep(answer, head, body)
                continue
            try:
                answer(head, body)
            except (Damaged, OSError) as error:
                self._pipe.write(_error(error))

    def _keep(self, answer: Callable[[Head, bytes], None], head: Head, body: bytes) -> None:
        """Do one of many; what goes wrong is told at the end of them."""
        if self._troubles:
            return
        try:
            answer(head, body)
        except (Damaged, OSError) as error:
            self._troubles.append(json.dumps(_error(error)))

    def _say(self, body: bytes = b"", **head: Any) -> None:
        self._pipe.write(head, body)

    # Contents.

    def do_pack(self, head: Head, body: bytes) -> None:
        start = 0
        for name, size, check in head["files"]:
            self._store.take(name, body[start : start + size], check)
            start += size

    def do_part(self, head: Head, body: bytes) -> None:
        self._store.append(head["digest"], head["size"], head["offset"], body, head["check"])

    def do_sent(self, _: Head, __: bytes) -> None:
        troubles, self._troubles = self._troubles, []
        if troubles:
            self._pipe.write(json.loads(troubles[0]))
        else:
            self._say()

    # Jobs.

    def do_submit(self, head: Head, body: bytes) -> None:
        self._say(**self._jobs.submit(head["job"], json.loads(body.decode())))

    def do_watch(self, head: Head, _: bytes) -> None:
        self._watch.add(head["job"], head["offset"])
        self._say()

    def do_cancel(self, head: Head, _: bytes) -> None:
        self._jobs.cancel(head["job"], head["grace"])
        self._say()

    def do_forget(self, head: Head, _: bytes) -> None:
        self._jobs.forget(head["job"])
        self._say()

    # What jobs wrote.

    def do_outputs(self, head: Head, _: bytes) -> None:
        """What stands at each path, file by file: [path, size, executable, digest]; folders end in a slash."""
        tree = os.path.join(self._jobs.folder(head["job"]), "tree")
        found = {path: list(self._listed(tree, path)) for path in head["paths"]}
        self._say(json.dumps(found).encode(), n=len(found))

    def do_get(self, head: Head, body: bytes) -> None:
        """The contents of files, one after the other, in blocks; the last block of each says so."""
        tree = os.path.join(self._jobs.folder(head["job"]), "tree")
        for path in json.loads(body.decode()):
            with open(os.path.join(tree, path), "rb") as file:
                file.seek(head.get("offset", 0))
                block = file.read(_BLOCK)
                while True:
                    following = file.read(_BLOCK) if len(block) == _BLOCK else b""
                    self._pipe.write({"last": not following}, block, is_flushed=False)
                    if not following:
                        break
                    block = following
        self._say(done=True)

    def do_adopt(self, head: Head, body: bytes) -> None:
        """Keep outputs for the jobs after this one: [path, digest]."""
        tree = os.path.join(self._jobs.folder(head["job"]), "tree")
        for path, name in json.loads(body.decode()):
            self._store.adopt_output(os.path.join(tree, path), name)
        self._say()

    def _listed(self, tree: str, path: str) -> Iterator[tuple[str, int, bool, str]]:
        full = os.path.join(tree, path)
        if os.path.isdir(full):
            yield path.rstrip("/") + "/", 0, False, ""
            yield from self._below(full, path.rstrip("/"), ())
        elif os.path.exists(full):
            yield self._file(full, path)

    def _below(self, folder: str, path: str, above: tuple[str, ...]) -> Iterator[tuple[str, int, bool, str]]:
        """What is in a folder. Links are followed, but never into a folder that the walk is in."""
        real = os.path.realpath(folder)
        if real in above:
            return
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            if entry.is_dir():
                yield f"{path}/{entry.name}/", 0, False, ""
                yield from self._below(entry.path, f"{path}/{entry.name}", (*above, real))
            elif entry.is_file():
                yield self._file(entry.path, f"{path}/{entry.name}")

    def _file(self, full: str, path: str) -> tuple[str, int, bool, str]:
        status = os.stat(full)
        if self._make is None:
            return path, status.st_size, bool(status.st_mode & 0o100), ""
        name = digest.of_file(full, self._make)
        if status.st_nlink == 1 and os.path.realpath(full).startswith(os.path.realpath(self._root)):
            self._store.adopt_output(os.path.realpath(full), name)
        return path, status.st_size, bool(status.st_mode & 0o100), name

    # The host.

    def do_hello(self, _: Head, __: bytes) -> None:
        self._say(**probe.hello(self._root, self._make is not None))

    def do_probe(self, _: Head, __: bytes) -> None:
        objects, size = self._store.size()
        self._say(**probe.everything(self._root), objects=objects, size=size, jobs=self._jobs.all())

    def do_clean(self, head: Head, _: bytes) -> None:
        gone = self._jobs.clean(head["age"])
        dropped, kept = self._store.trim(head["limit"])
        self._say(jobs=gone, dropped=dropped, kept=kept)


class _Watch:
    """A thread that tells what is new of jobs: what they wrote, and that they ended."""

    def __init__(self, jobs: Jobs, pipe: Pipe) -> None:
        self._jobs = jobs
        self._pipe = pipe
        self._offsets: dict[str, int] = {}
        self._added = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def add(self, job: str, offset: int) -> None:
        self._offsets[job] = offset
        self._added.set()

    def _run(self) -> None:
        pause = _SOON
        while True:
            if not self._offsets:
                self._added.wait()
            self._added.clear()
            try:
                is_news = any(self._look(job) for job in list(self._offsets))
            except Broken:
                os._exit(0)
            pause = _SOON if is_news else min(_LATER, pause * 1.3)
            self._added.wait(pause)

    def _look(self, job: str) -> bool:
        ended = self._jobs.exit_of(job)  # before the log, so that nothing it wrote is left out
        is_longer = self._tell_log(job)
        if ended is not None:
            del self._offsets[job]
            self._pipe.write(dict(ended, ev="exit", job=job))
        return is_longer or ended is not None

    def _tell_log(self, job: str) -> bool:
        is_longer = False
        try:
            with open(os.path.join(self._jobs.folder(job), "log"), "rb") as log:
                log.seek(self._offsets[job])
                while True:
                    block = log.read(_BLOCK)
                    if not block:
                        return is_longer
                    is_longer = True
                    self._pipe.write({"ev": "log", "job": job, "offset": self._offsets[job]}, block)
                    self._offsets[job] += len(block)
        except FileNotFoundError:
            return is_longer


def _error(error: Exception) -> Head:
    if isinstance(error, OSError):
        return {"error": error.strerror or str(error), "errno": error.errno, "path": str(error.filename or "")}
    return {"error": str(error), "errno": 0, "path": ""}


def main(root: str, greeting: str) -> None:
    """Serve on standard input and output. What else would write there goes to standard error."""
    root = os.path.abspath(os.path.expanduser(root))
    os.makedirs(root, mode=0o700, exist_ok=True)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    outgoing.write(greeting.encode() + b"\n")
    outgoing.flush()
    pipe = Pipe(sys.stdin.buffer, outgoing)
    with contextlib.suppress(Broken):
        Agent(root, pipe).run()
    os._exit(0)
