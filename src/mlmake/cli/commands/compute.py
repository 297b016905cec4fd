"""`mlmake compute`: the targets on which steps run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
from click.shell_completion import CompletionItem

from mlmake.cli.place import Place
from mlmake.cli.words import as_json, print_json, print_table
from mlmake.errors import HostError, MlmakeError
from mlmake.model.project import Compute, Project
from mlmake.model.resources import Resources, parse_duration, parse_size
from mlmake.model.run import size_in_words

_NO_HOST = "no host is declared: steps run on this machine"


class TargetName(click.ParamType[str]):
    """A compute target of the project."""

    name = "name"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            project = (ctx.find_object(Place) or Place("")).project()
        except MlmakeError:
            return []
        return [CompletionItem(name) for name in project.computes if name.startswith(incomplete)]


class Said(click.ParamType[Any]):
    """A duration or a size, as in the file."""

    def __init__(self, name: str, parse: Any) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return value if isinstance(value, int | float) else self._parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.group("compute")
def command() -> None:
    """The compute targets: this machine, hosts over SSH, pools of them.

    \b
    mlmake compute list           what the file declares
    mlmake compute check          connect to each, and tell what is there and what is missing
    mlmake compute clean gpubox   remove what old jobs left there
    """


@command.command("list")
@as_json
@click.pass_context
def list_command(ctx: click.Context, json_: bool) -> None:
    """List the targets that steps may name.

    \b
    mlmake compute list
    mlmake compute list --json    for programs
    """
    place: Place = ctx.obj
    project = place.project()
    targets = [project.computes.get("local", Compute(name="local", kind="local"))]
    targets += [compute for compute in project.computes.values() if compute.name != "local"]
    if json_:
        print_json([_told(project, compute) for compute in targets])
        return
    print_table([[compute.name, compute.kind, _where(compute), _offers(compute.offers)] for compute in targets])


@command.command("check")
@click.argument("name", default="", type=TargetName())
@as_json
@click.pass_context
def check_command(ctx: click.Context, name: str, json_: bool) -> int:
    """Connect to a host, or to all, and tell what is there; for each fault the next move. Exits 1 if there is one.

    \b
    mlmake compute check          every host and engine of the file
    mlmake compute check gpubox   one, or the members of a pool
    """
    from mlmake.services.checkup import check
    from mlmake.services.hosts import hosts

    place: Place = ctx.obj
    project = place.project()
    found = {compute.name: check(project, compute) for compute in hosts(project, name)}
    if json_:
        print_json({target: [_as_json(each) for each in findings] for target, findings in found.items()})
    elif not found:
        click.echo(_NO_HOST)
    for target, findings in {} if json_ else found.items():
        click.secho(target, bold=True)
        print_table([row for each in findings for row in _rows(each)])
    return int(any(each.move for findings in found.values() for each in findings))


@command.command("clean")
@click.argument("name", default="", type=TargetName())
@click.option("--older", type=Said("duration", parse_duration), default="7d", help="Not used for so long: `2h`, `7d`.")
@click.option("--limit", type=Said("size", parse_size), help="Keep at most so much of what was sent: `50GiB`.")
@click.pass_context
def clean_command(ctx: click.Context, name: str, older: float, limit: int | None) -> None:
    """Remove from hosts what old jobs left: those that ended and were never fetched, environments that no step has used
    for long, and contents over a limit.

    What runs is left alone with its environment, and so is what was used most recently. The limit is that of the
    target's table (`store_limit`), or the one given here. Of a Docker engine, containers go that nobody looks after any
    more.

    \b
    mlmake compute clean                       every host and engine of the file
    mlmake compute clean gpubox --limit 20GiB  and keep at most 20 GiB of what was sent there
    """
    from mlmake.services.hosts import clean, hosts

    place: Place = ctx.obj
    project = place.project()
    problems = []
    found = hosts(project, name)
    if not found:
        click.echo(_NO_HOST)
    for compute in found:
        try:
            done = clean(project, compute, older, limit)
        except HostError as error:
            problems.append(f"{compute.name}: {error.message}")
        except OSError as error:
            problems.append(f"{compute.name}: {error.strerror or error}")
        else:
            click.echo(_cleaned(compute, done))
    if problems:
        raise HostError("\n".join(problems), hint="`mlmake compute check` tells more")


def _cleaned(compute: Compute, done: Any) -> str:
    containers, environments = f"{len(done.containers)} containers", f"{len(done.environments)} environments"
    more = containers if compute.kind == "docker" else environments
    removed = f"{len(done.jobs)} jobs, {more} and {size_in_words(done.dropped)} removed"
    return f"{compute.name}: {removed}, {size_in_words(done.kept)} kept"


def _told(project: Project, compute: Compute) -> dict[str, Any]:
    offers = compute.offers.amounts() if compute.offers else {}
    steps = [step.id for step in project.steps.values() if step.spec.compute == compute.name]
    options = dict(compute.options)
    return {"name": compute.name, "kind": compute.kind, "offers": offers, "options": options, "steps": steps}


def _where(compute: Compute) -> str:
    if compute.kind == "pool":
        return ", ".join(compute.options["of"])
    return str(compute.options.get("host") or compute.options.get("via") or "this machine")


def _offers(offers: Resources | None) -> str:
    if offers is None:
        return "all that it has"
    amounts = offers.amounts()
    memory = [f"memory {size_in_words(offers.memory)}"] if offers.memory else []
    return ", ".join([*(f"{name} {amount:g}" for name, amount in amounts.items() if name != "memory"), *memory])


def _as_json(finding: Any) -> dict[str, str]:
    return {"what": finding.what, "value": finding.value, "move": finding.move}


def _rows(finding: Any) -> Iterator[list[str]]:
    """What was found and, below a fault, the next move."""
    yield ["", finding.what, click.style(finding.value, fg="red") if finding.move else finding.value]
    if finding.move:
        yield ["", "", click.style(finding.move, fg="yellow")]
