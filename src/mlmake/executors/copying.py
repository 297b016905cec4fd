"""A job in a container of an engine that sees none of our files: they are copied into it, and what it wrote out of it.

Pure, as `containers`. One shell does it all, so that to the runner it is one process, whose output is the job's.
"""

from __future__ import annotations

import os
import shlex

from mlmake.executors.containers import Container, creation

_FAILED = 125
"""The exit code of the docker program for what is no fault of the job; here that of a copy that fails, too."""
_SCRIPT = """\
said() {{ printf '%s\\n' "$said" >&2; exit {failed}; }}
docker create "$@" > /dev/null || exit {failed}
said=$(docker cp {into} 2>&1) || said
trap : TERM
docker start --attach {name} || exit $?
{out}"""
_OUT = """\
said=$(docker cp --follow-link {out} 2>&1) || case $said in
    *"not find the file"*|*"o such container:path"*) ;;
    *) said ;;
esac
"""
"""A file that is not there is no fault of the copy: which output is missing is told where all are looked at."""


def run_copied_argv(container: Container) -> tuple[str, ...]:
    """As `run_argv`, for a container with copied files; to be run with the same environment.

    The docker program passes a SIGTERM on to the job, and the shell waits for what comes of that.
    """
    name, tree = container.name, container.tree
    script = _SCRIPT.format(
        failed=_FAILED,
        name=name,
        into=shlex.join([tree, f"{name}:{os.path.dirname(tree)}"]),  # whole, as its owner goes along with it
        out="".join(_OUT.format(out=_bringing(container, path)) for path in container.brought),
    )
    return ("/bin/sh", "-c", script, "mlmake", *creation(container))


def _bringing(container: Container, path: str) -> str:
    """The words that bring a file or folder to where it is here, in a folder that is there."""
    path = os.path.join(container.tree, path.rstrip("/"))
    return shlex.join([f"{container.name}:{path}", f"{os.path.dirname(path)}/."])
