"""A step that runs a version of a module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from mlmake.errors import UnknownName, WrongValue
from mlmake.sdk.data import InputPortBinding, Made
from mlmake.sdk.module import Module, ModuleVersion
from mlmake.sdk.step import Drafting, PipelineStep, no_nodes, port_of


class ModuleStep(PipelineStep):
    """Runs `module_version`, or `module`: in `version`, or else its default or highest one at the time of a submission.

    `inputs_map` and `outputs_map` say what the ports of the module are.
    """

    kind: ClassVar[str] = "python"

    def __init__(
        self,
        module: Module | None = None,
        version: str | None = None,
        module_version: ModuleVersion | None = None,
        inputs_map: Mapping[str, Any] | None = None,
        outputs_map: Mapping[str, Any] | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Mapping[str, Any] | None = None,
        arguments: Sequence[Any] | None = None,
        params: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> None:
        if (module is None) == (module_version is None):
            raise WrongValue("a ModuleStep has a module or a module_version, and not both")
        self._module = module
        self._version = version
        self._fixed = module_version
        found = self.resolved()
        self._check(found.body["inputs"], inputs_map, "input")
        self._check(found.body["outputs"], outputs_map, "output")
        inputs = [InputPortBinding(port, port_of(each).data) for port, each in (inputs_map or {}).items()]
        outputs = [_made(port, each, found) for port, each in (outputs_map or {}).items()]
        no_nodes(runconfig_pipeline_params)
        super().__init__(name or found.module().name, inputs, outputs, arguments)
        self._has_arguments = arguments is not None
        self.compute_target, self.runconfig = compute_target, runconfig
        self.params = dict(params or {})

    def resolved(self) -> ModuleVersion:
        """The version that runs now. Raises UnknownName."""
        if self._fixed is not None:
            return self._fixed
        assert self._module is not None, "one of the two was given"
        return self._module.resolve(self._version)

    def table(self, draft: Drafting) -> dict[str, Any]:
        body = self.resolved().body
        own = None if self._has_arguments else body["arguments"]
        return {
            "script": body["script"],
            "args": draft.arguments(self, self.arguments) if own is None else own,
            "params": draft.params(self, {**body["params"], **self.params}),
            **draft.setting(self, self.compute_target, self.runconfig),
        }

    @staticmethod
    def _check(known: Sequence[str], given: Mapping[str, Any] | None, what: str) -> None:
        for port in given or {}:
            if port not in known:
                raise UnknownName(f"the module has no {what} {port!r}", hint=f"it has: {', '.join(known) or 'none'}")
        for port in known:
            if port not in (given or {}):
                raise WrongValue(f"{what} {port!r} of the module is not connected", hint=f"say it in {what}s_map")


def _made(port: str, given: Any, version: ModuleVersion) -> Made:
    if not isinstance(given, Made):
        raise WrongValue(f"output {port!r}: a PipelineData is what a step writes, not {given!r}")
    given.output_name = port
    given.is_directory = given.is_directory or bool(version.body["outputs"][port])
    return given
