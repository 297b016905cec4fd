"""What every step has: inputs and outputs under names, arguments that may name them, an order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from mlmake.errors import NotYetError, WrongValue
from mlmake.sdk.data import (
    InputPortBinding,
    Made,
    OutputFileDatasetConfig,
    PipelineOutputFileDataset,
    PipelineOutputTabularDataset,
)
from mlmake.sdk.dataset import AnyDataset, DatasetConsumptionConfig, PipelineDataset
from mlmake.sdk.datastore import DataPathComputeBinding, DataReference
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.parameters import PipelineParameter
from mlmake.sdk.words import check_port

_PARAMETER = "parameter:"
"""Before the name of one of a step's `params`, among its arguments."""


@dataclass(frozen=True, slots=True)
class Port:
    """An input: its name, what is read, as the user gave it, and whether it is a table for `Run.input_datasets`."""

    name: str
    data: Any
    given: Any
    is_direct: bool = False

    @property
    def made(self) -> Made | None:
        """What another step makes, if it is that."""
        return self.data if isinstance(self.data, Made) else None

    @property
    def given_name(self) -> str:
        """Its name before it was another one in the step."""
        return str(getattr(self.given, "name", self.name))


class Drafting(Protocol):
    """What a step's table is made with."""

    workspace: WorkspaceFolder
    folder: str

    def arguments(self, step: PipelineStep, given: Sequence[Any]) -> list[str]:
        """Words of a command line, with placeholders for what is an input, output or parameter."""

    def params(self, step: PipelineStep, given: Mapping[str, Any] | None) -> dict[str, str]:
        """A step's parameters: its own name -> the key in the pipeline."""

    def script(self, script: str, source_directory: str | None) -> str:
        """A script's path in the workspace. Raises WrongValue."""

    def setting(self, step: PipelineStep, compute: Any, runconfig: Any, **keys: Any) -> dict[str, Any]:
        """The keys that say where and in what a step runs, and whether it may be reused."""


class PipelineStep:
    """A step. Steps of one pipeline run in parallel, unless one reads what another writes or is to run after it.

    Attributes:
        name: for people; two steps may have the same.
        ports: what it reads, by name.
        made: what it writes, by name.
        params: values beside the arguments, by the step's own names.
    """

    kind: ClassVar[str] = ""

    def __init__(
        self,
        name: str,
        inputs: Iterable[Any] | None = None,
        outputs: Iterable[Any] | None = None,
        arguments: Sequence[Any] | None = None,
        fix_port_name_collisions: bool = False,
        resource_inputs: Iterable[Any] | None = None,
    ) -> None:
        self.name = name
        self.arguments = list(arguments or [])
        self.params: dict[str, Any] = {}
        given = [*(inputs or ()), *(resource_inputs or ())]
        self.made = {each.output_name: each for each in self._checked_outputs([*(outputs or ())], given)}
        ports = [port_of(each) for each in given]
        ports += [port_of(each) for each in self._unlisted(ports)]
        self.ports = {port.name: port for port in self._renamed(ports, fix_port_name_collisions)}
        self.run_after_steps: list[PipelineStep] = []
        self._check_arguments()
        for made in self.made.values():
            made.producer = self

    def run_after(self, step: PipelineStep) -> None:
        """Let it start when another step has ended, though it reads nothing of it."""
        self.run_after_steps.append(step)

    def table(self, draft: Drafting) -> dict[str, Any]:
        """Its kind's own keys in a pipelines.toml."""
        raise NotImplementedError

    @property
    def inputs(self) -> list[Any]:
        """What it reads, as it was given."""
        return [port.given for port in self.ports.values()]

    @property
    def outputs(self) -> list[Made]:
        """What it writes."""
        return list(self.made.values())

    def predecessors(self) -> Iterator[PipelineStep]:
        """Steps that come before it. Raises WrongValue for an input that no step makes."""
        for port in self.ports.values():
            if port.made is not None and port.made.producer is None:
                raise WrongValue(
                    f"step {self.name}: input {port.name} is not connected to any previous step",
                    hint="put it among the outputs of the step that makes it",
                )
            if port.made is not None and port.made.producer is not None:
                yield port.made.producer
        yield from self.run_after_steps

    def word_of(self, argument: Any) -> tuple[str, str] | None:
        """What an argument names: ("inputs", name), ("outputs", name), ("params", name); None for a plain word."""
        if isinstance(argument, PipelineParameter) and not argument.is_data:
            own = (name for name, value in self.params.items() if value is argument)
            return "params", next(own, argument.name)
        if isinstance(argument, str):
            name = argument.removeprefix(_PARAMETER)
            return ("params", name) if name != argument and name in self.params else None
        found = [name for name, port in self.ports.items() if _is_same(argument, port)]
        found_made = [name for name, made in self.made.items() if argument is made or _data_of(argument) is made]
        for space, names in (("outputs", found_made), ("inputs", found)):
            if names:
                return space, names[0]
        return None

    def variables(self) -> dict[str, tuple[str, str]]:
        """What the name in a text such as `f"--to={output}"` stands for; an input is no output of the same name."""
        made = [(name, ("outputs", own)) for own, each in self.made.items() for name in (own, each.name)]
        read = [(name, ("inputs", name)) for name in self.ports]
        given = [(port.given_name, ("inputs", name)) for name, port in self.ports.items()]
        return dict(reversed([*made, *read, *given]))

    def _checked_outputs(self, outputs: list[Any], inputs: list[Any]) -> list[Made]:
        made = [_made_of(each, self.name) for each in outputs]
        told = [each for each in self.arguments if isinstance(each, OutputFileDatasetConfig) and each not in inputs]
        made += [each for each in told if each not in made]
        for number, each in enumerate(made, 1):
            if isinstance(each, OutputFileDatasetConfig) and not each.is_named and len(made) > 1:
                each.name = each.output_name = f"output_{number}"  # not a random one, which no later run would have
        names = [each.output_name for each in made]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise WrongValue(f"step {self.name}: two outputs are named {twice!r}; give one another output_name")
        return made

    def _unlisted(self, ports: list[Port]) -> Iterator[Any]:
        """Datasets among the arguments are inputs too."""
        for each in self.arguments:
            if isinstance(each, DatasetConsumptionConfig) and not any(_is_same(each, port) for port in ports):
                yield each

    def _renamed(self, ports: list[Port], fix: bool) -> Iterator[Port]:
        seen: set[str] = set()
        for port in ports:
            name = f"INPUT_{port.name}" if fix and port.name in self.made else port.name
            if name in seen and isinstance(port.made, OutputFileDatasetConfig) and not port.made.is_named:
                name = f"{name}_{len(seen) + 1}"
            if name in seen or name in self.made:
                raise WrongValue(f"step {self.name}: two inputs or outputs are named {name!r}: rename one")
            seen.add(name)
            yield Port(name, port.data, port.given, port.is_direct)

    def _check_arguments(self) -> None:
        for each in self.arguments:
            plain = isinstance(each, str | int | float) or each is None
            if not plain and self.word_of(each) is None:
                raise WrongValue(
                    f"step {self.name}: {each!r} appears in arguments list but is not in the input/output lists"
                )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


def no_nodes(given: Mapping[str, Any] | None) -> None:
    """Raise NotYetError for parameters that say on how many nodes a step runs."""
    if given:
        raise NotYetError(
            f"runconfig_pipeline_params {', '.join(given)}: a step runs on one machine", hint="leave them out"
        )


class StepSequence:
    """Steps one after the other; a list among them runs in parallel."""

    def __init__(self, steps: Iterable[Any] | None = None) -> None:
        self._steps = list(steps or [])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._steps)


def port_of(given: Any) -> Port:
    """An input from what a step is given as one. Raises WrongValue."""
    if isinstance(given, AnyDataset):
        raise WrongValue(f"{given!r} needs a name as an input: say dataset.as_named_input('name')")
    if isinstance(given, Made):
        return Port(given.name, given, given)
    if isinstance(given, InputPortBinding):
        return Port(given.name, _data_of(given), given)
    if isinstance(given, PipelineOutputFileDataset | PipelineOutputTabularDataset):
        return Port(given.name, given.pipeline_data, given, is_direct=isinstance(given, PipelineOutputTabularDataset))
    if isinstance(given, DatasetConsumptionConfig):
        dataset = given.dataset.default_value if isinstance(given.dataset, PipelineParameter) else given.dataset
        return Port(given.name, given.dataset, given, is_direct=getattr(dataset, "kind", "") == "tabular")
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[1], DataPathComputeBinding):
        return Port(check_port(given[0].name, "input"), given[0], given)
    if isinstance(given, PipelineDataset):
        return Port(given.name, given.dataset, given)
    if isinstance(given, DataReference) or hasattr(given, "texts"):
        return Port(check_port(given.name, "input"), given, given)
    raise WrongValue(f"{given!r} is nothing that a step can read", hint="such as a DataReference or PipelineData")


def _made_of(given: Any, step: str) -> Made:
    found = given.pipeline_data if isinstance(given, PipelineOutputFileDataset) else given
    if not isinstance(found, Made):
        raise WrongValue(f"step {step}: {given!r} is nothing that a step can write", hint="such as a PipelineData")
    return found


def _data_of(given: Any) -> Any:
    """What is behind a binding."""
    if isinstance(given, InputPortBinding):
        return _data_of(given.bind_object)
    return given.pipeline_data if isinstance(given, PipelineOutputFileDataset) else given


def _is_same(argument: Any, port: Port) -> bool:
    """Whether an argument is the input: the same thing, or the same kind of thing under the same name."""
    if argument is port.given or argument is port.data:
        return True
    if isinstance(argument, tuple) and isinstance(port.given, tuple):
        return argument[0] is port.given[0]
    named = (InputPortBinding, PipelineOutputFileDataset, DatasetConsumptionConfig, DataReference, PipelineDataset)
    return isinstance(argument, named) and isinstance(port.given, named) and argument.name == port.given.name
