"""A step that runs a Python script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from mlmake.sdk.step import Drafting, PipelineStep, no_nodes


class PythonScriptStep(PipelineStep):
    """Runs `script_name` of `source_directory` with `arguments`.

    The working folder is the workspace's root, on every target. Only the files that the script imports count, not all
    of `source_directory`. Where `allow_reuse` is False it runs in every run of the pipeline; another `version` makes it
    run once more.
    """

    kind: ClassVar[str] = "python"

    def __init__(
        self,
        script_name: str,
        name: str | None = None,
        arguments: Sequence[Any] | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Mapping[str, Any] | None = None,
        inputs: Iterable[Any] | None = None,
        outputs: Iterable[Any] | None = None,
        params: Mapping[str, Any] | None = None,
        source_directory: str | None = None,
        allow_reuse: bool = True,
        version: str | None = None,
        hash_paths: Sequence[str] | None = None,
    ) -> None:
        no_nodes(runconfig_pipeline_params)
        super().__init__(name or script_name, inputs, outputs, arguments, fix_port_name_collisions=True)
        self.script_name = script_name
        self.source_directory = source_directory
        self.params = dict(params or {})
        self.compute_target = compute_target
        self.runconfig = runconfig
        self.allow_reuse = allow_reuse
        self.version = version

    def table(self, draft: Drafting) -> dict[str, Any]:
        return {
            "script": draft.script(self.script_name, self.source_directory),
            "args": draft.arguments(self, self.arguments),
            "params": draft.params(self, self.params),
            **draft.setting(
                self, self.compute_target, self.runconfig, allow_reuse=self.allow_reuse, version=self.version
            ),
        }
