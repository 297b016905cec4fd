"""A step that runs an estimator's script."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlmake.errors import WrongValue
from mlmake.sdk.estimator import Estimator
from mlmake.sdk.steps.python_script import PythonScriptStep


class EstimatorStep(PythonScriptStep):
    """Runs the script of `estimator` with `estimator_entry_script_arguments`, in the packages that it names."""

    def __init__(
        self,
        name: str | None = None,
        estimator: Estimator | None = None,
        estimator_entry_script_arguments: Sequence[Any] | None = None,
        runconfig_pipeline_params: Mapping[str, Any] | None = None,
        inputs: Iterable[Any] | None = None,
        outputs: Iterable[Any] | None = None,
        compute_target: Any = None,
        allow_reuse: bool = True,
        version: str | None = None,
    ) -> None:
        if estimator is None or estimator_entry_script_arguments is None:
            raise WrongValue("an EstimatorStep needs an estimator, and estimator_entry_script_arguments (a list)")
        if estimator.script_params:
            raise WrongValue("script_params of the estimator: give estimator_entry_script_arguments to the step")
        super().__init__(
            estimator.entry_script,
            name=name,
            arguments=estimator_entry_script_arguments,
            compute_target=compute_target or estimator.compute_target,
            runconfig=estimator.run_config,
            runconfig_pipeline_params=runconfig_pipeline_params,
            inputs=inputs,
            outputs=outputs,
            source_directory=estimator.source_directory,
            allow_reuse=allow_reuse,
            version=version,
        )
