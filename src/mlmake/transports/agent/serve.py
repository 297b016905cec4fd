"""What an agent answers: one request after the other, and meanwhile the news of the jobs that it was asked to watch."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from . import digest, probe
from .environments import Environments
from .jobs import Jobs
from .outputs import Outputs, blocks
from .starter import Starter
from .store import Store
from .watch import Watch
from .wire import BROKEN, Broken, Head, Pipe


class Agent:
    """One conversation."""

    def __init__(self, root: str, pipe: Pipe, starter: Starter) -> None:
        self._root = root
        self._pipe = pipe
        self._make = digest.hasher()
        self._store = Store(root, self._make)
        self._jobs = Jobs(root, self._store, starter)
        self._watch = Watch(self._jobs, pipe)
        self._environments = Environments(root)
        self._troubles: list[Head] = []
        self._is_quiet = False

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
            except OSError as error:
                self._pipe.write(_error(error))

    def _keep(self, answer: Callable[[Head, bytes], None], head: Head, body: bytes) -> None:
        """Do one of many, without a word; what goes wrong is told at the end of them."""
        if self._troubles:
            return
        self._is_quiet = True
        try:
            answer(head, body)
        except OSError as error:
            self._troubles.append(_error(error))
        finally:
            self._is_quiet = False

    def _say(self, body: bytes = b"", **head: Any) -> None:
        if not self._is_quiet:
            self._pipe.write(head, body)

    # Contents.

    def do_pack(self, head: Head, body: bytes) -> None:
        view = memoryview(body)
        start = 0
        for name, size, check in head["files"]:
            self._store.take(name, bytes(view[start : start + size]), check)
            start += size

    def do_want(self, _: Head, body: bytes) -> None:
        """Which of these large contents are not here yet, and how much of each is: [digest, size]."""
        sizes = dict(json.loads(body.decode()))
        lacking = self._store.missing(sizes.items())
        self._say(begun={name: self._store.begin(name, sizes[name]) for name in lacking})

    def do_part(self, head: Head, body: bytes) -> None:
        self._store.append(head["digest"], head["size"], head["offset"], body, head["check"])

    def do_sent(self, _: Head, __: bytes) -> None:
        troubles, self._troubles = self._troubles, []
        self._pipe.write(troubles[0] if troubles else {})

    # Jobs.

    def do_submit(self, head: Head, body: bytes) -> None:
        self._say(**self._jobs.submit(head["job"], json.loads(body.decode())))

    def do_find(self, head: Head, _: bytes) -> None:
        self._jobs.find(head["job"])
        self._say()

    def do_jobs(self, _: Head, __: bytes) -> None:
        self._say(jobs=self._jobs.all())

    def do_watch(self, head: Head, _: bytes) -> None:
        self._jobs.hold(head["job"])
        self._watch.add(head["job"], head["offset"])
        self._say()

    def do_cancel(self, head: Head, _: bytes) -> None:
        self._jobs.cancel(head["job"], head["grace"])
        self._say()

    def do_forget(self, _: Head, body: bytes) -> None:
        for job in json.loads(body.decode()):
            self._watch.drop(job)
            self._jobs.forget(job)
        self._say()

    # What jobs wrote.

    def do_outputs(self, head: Head, body: bytes) -> None:
        self._say(json.dumps(self._outputs(head).listed(json.loads(body.decode()))).encode())

    def do_get(self, head: Head, body: bytes) -> None:
        for parts, block in self._outputs(head).contents(json.loads(body.decode())):
            self._pipe.write({"parts": parts}, block, is_flushed=False)
        self._say()

    def do_adopt(self, head: Head, body: bytes) -> None:
        self._outputs(head).adopt(json.loads(body.decode()))
        self._say()

    def do_keep(self, head: Head, body: bytes) -> None:
        """Let outputs stay here, for the jobs after this one and for `take`."""
        self._say(json.dumps(self._outputs(head).kept(json.loads(body.decode()))).encode())

    def do_take(self, _: Head, body: bytes) -> None:
        """Contents out of the store, each from an offset on: [digest, size, offset]."""
        wanted = json.loads(body.decode())
        missing = self._store.missing([(name, size) for name, size, _ in wanted])
        if not missing:
            for parts, block in blocks([(self._store.path(name), offset) for name, _, offset in wanted]):
                self._pipe.write({"parts": parts}, block, is_flushed=False)
        self._say(missing=missing)

    def _outputs(self, head: Head) -> Outputs:
        return Outputs(self._jobs.folder(head["job"]), self._store, self._make)

    # Environments.

    def do_environment(self, head: Head, body: bytes) -> None:
        """What an environment says of itself, asked with the command line in the body; "" if it does not stand."""
        self._say(said=self._environments.look(head["key"], json.loads(body.decode()), head["traces"]))

    # The host.

    def do_hello(self, _: Head, __: bytes) -> None:
        self._say(**probe.hello(self._root, self._make is not None))

    def do_run(self, head: Head, _: bytes) -> None:
        """Run a program to its end: what it says, and beside it its exit code and complaints."""
        env = dict(os.environ, **head.get("env", {}))
        try:
            ran = subprocess.run(
                head["argv"],
                env=env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=head["seconds"],
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError(errno.ETIMEDOUT, f"{head['argv'][0]} did not end within {head['seconds']:g} s") from None
        self._say(ran.stdout, code=ran.returncode, errors=ran.stderr.decode("utf-8", "replace")[-20000:])

    def do_probe(self, _: Head, __: bytes) -> None:
        objects, size = self._store.size()
        jobs, environments = self._jobs.all(), self._environments.all()
        self._say(**probe.everything(self._root), objects=objects, size=size, jobs=jobs, environments=environments)

    def do_clean(self, head: Head, _: bytes) -> None:
        gone = self._jobs.clean(head["age"])
        environments = self._environments.clean(head["age"], {job["environment"] for job in self._jobs.all()})
        self._store.tidy(head["age"])
        dropped, kept = self._store.trim(head["limit"])
        running = [each["job"] for each in self._jobs.all() if each["runs"]]
        self._say(jobs=gone, running=running, environments=environments, dropped=dropped, kept=kept)


def _error(error: OSError) -> Head:
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
    return {"error": error.strerror or str(error), "errno": error.errno, "path": path}


def main(root: str, greeting: str) -> None:
    """Serve on standard input and output. What else would write there goes to standard error."""
    starter = Starter()
    outgoing = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    outgoing.write(b"\n" + greeting.encode() + b"\n")
    outgoing.flush()
    code = BROKEN
    with contextlib.suppress(Broken):
        Agent(root, Pipe(sys.stdin.buffer, outgoing), starter).run()
        code = 0
    os._exit(code)
