"""Images that an engine has, pulls or builds, by name or from a Dockerfile; an image is told by its id.

What is asked of the docker program is built purely; `Run` runs it wherever the engine is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mlmake.errors import SoftwareError, SoftwareUnavailable
from mlmake.model.docker import DOCKER, Ran, Run, Trouble, explained, known, last_words

_LABEL = "mlmake.context"
_NOT_A_NAME = re.compile(r"[^a-z0-9]+")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
_SENT = """\
cp -R . ../context && chmod -R u+w ../context && cd ../context || exit
links=$1
shift
while [ "$links" -gt 0 ]; do
    ln -s -- "$1" "$2" || exit
    shift 2
    links=$((links - 1))
done
exec "$@"
"""
_TAIL = 15
"""Lines of a failed build that are shown."""


def fact(image: str) -> str:
    """What the id of an image is as a fact."""
    return f"image {image}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """A Dockerfile of an environment, and the digest of all that its build may read (`Context.digest`)."""

    environment: str
    dockerfile: str
    digest: str

    @property
    def tag(self) -> str:
        """The image's name; another content has another name, so that what is there need not be built."""
        readable = _NOT_A_NAME.sub("-", self.environment.lower()).strip("-") or "environment"
        return f"mlmake/{readable}:{self.digest}"


def id_argv(name: str) -> tuple[str, ...]:
    """Tells the id of an image that the engine has."""
    return (DOCKER, "image", "inspect", "--format", "{{.Id}}", name)


def pull_argv(name: str) -> tuple[str, ...]:
    """Gets an image from its registry, with the login that Docker's configuration has for that."""
    return (DOCKER, "pull", "--quiet", name)


def build_argv(recipe: Recipe, folder: str) -> tuple[str, ...]:
    """Builds an image from a folder of the machine that the docker program runs on."""
    file = f"{folder.rstrip('/')}/{recipe.dockerfile}"
    label = f"{_LABEL}={recipe.digest}"
    return (DOCKER, "build", "--force-rm", "--tag", recipe.tag, "--label", label, "--file", file, folder)


def sent_build_argv(recipe: Recipe, links: Mapping[str, str]) -> tuple[str, ...]:
    """Builds an image where the files of its context have been brought into the working folder; for a job.

    `links` are those of the context, path -> where it leads. Files that are brought are read-only, and may not be
    changed; those of the image are not to be so.
    """
    words = [word for path, target in links.items() for word in (target, path)]
    return ("/bin/sh", "-c", _SENT, "mlmake", str(len(links)), *words, *build_argv(recipe, "."))


def present(name: str, run: Run) -> str | None:
    """The id of an image, if the engine has it. Raises SoftwareError."""
    ran = _run(run, id_argv(name))
    if ran.returncode == 0:
        return ran.stdout.strip()
    if "no such image" in ran.stderr.lower():
        return None
    raise _error(f"image {name}", explained(ran.stderr))


def pulled(name: str, run: Run) -> str:
    """The id of an image, pulled if the engine does not have it. Raises SoftwareError."""
    image = present(name, run)
    if image is None:
        ran = _run(run, pull_argv(name))
        if ran.returncode:
            raise _error(f"image {name}", explained(ran.stderr))
        image = present(name, run)
    return _there(image, name)


def built(recipe: Recipe, folder: str, run: Run) -> str:
    """The id of a Dockerfile's image, built if the engine does not have it. Raises SoftwareError."""
    return built_by(recipe, run, lambda: _run(run, build_argv(recipe, folder)))


def built_by(recipe: Recipe, run: Run, build: Callable[[], Ran]) -> str:
    """The same, built in another way. Raises SoftwareError, and what `build` does."""
    image = present(recipe.tag, run)
    if image is None:
        ran = build()
        if ran.returncode:
            raise _build_error(recipe, ran)
        image = present(recipe.tag, run)
    return _there(image, recipe.tag)


def _run(run: Run, argv: Sequence[str]) -> Ran:
    try:
        return run(argv)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SoftwareError(f"cannot run `{DOCKER}`: {reason}", hint="install Docker, or correct PATH") from error


def _there(image: str | None, name: str) -> str:
    if image is None:
        raise SoftwareUnavailable(f"image {name} was removed as soon as it was there", hint="try again")
    return image


def _error(what: str, trouble: Trouble) -> SoftwareError:
    kind = SoftwareUnavailable if trouble.is_passing else SoftwareError
    return kind(f"{what}: {trouble.what}", hint=trouble.hint)


def _build_error(recipe: Recipe, ran: Ran) -> SoftwareError:
    """With the last words of what failed, which a build writes to one stream or the other."""
    last = last_words(ran.stderr)
    if trouble := known(last):
        return _error(recipe.dockerfile, trouble)
    lines = [line for line in _COLORS.sub("", f"{ran.stdout}\n{ran.stderr}").splitlines() if line.strip()]
    tail = "\n".join(f"  {line}" for line in lines[-_TAIL:])
    return SoftwareError(f"{recipe.dockerfile} cannot be built: {last}\n{tail}", hint="correct it, and build again")
