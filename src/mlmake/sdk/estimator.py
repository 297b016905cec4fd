"""An estimator: a script with the packages that it needs, for an `EstimatorStep` or an experiment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlmake.sdk.environment import CondaDependencies, Environment, RunConfiguration, ScriptRunConfig


class Estimator:
    """Runs `entry_script` of `source_directory`. What is said of nodes, images and GPUs is said by its target here."""

    def __init__(
        self,
        source_directory: str,
        *,
        compute_target: Any = None,
        entry_script: str | None = None,
        script_params: Mapping[str, Any] | None = None,
        conda_packages: Iterable[str] | None = None,
        pip_packages: Iterable[str] | None = None,
        environment_definition: Environment | None = None,
        user_managed: bool = False,
        environment_variables: Mapping[str, str] | None = None,
        **ignored: object,
    ) -> None:
        self.source_directory = source_directory
        self.compute_target = compute_target
        self.entry_script = entry_script or "train.py"
        self.script_params = dict(script_params or {})
        packages = CondaDependencies.create(pip_packages=pip_packages, conda_packages=conda_packages)
        self.run_config = RunConfiguration(conda_dependencies=packages)
        if environment_definition is not None:
            self.run_config.environment = environment_definition
        elif self.run_config.environment is not None:
            self.run_config.environment.python.user_managed_dependencies = user_managed
        self.run_config.environment_variables = dict(environment_variables or {})

    def as_script(self) -> ScriptRunConfig:
        """It as a script to be run by itself; a parameter of the script without a value is a flag."""
        words = [word for flag, value in self.script_params.items() for word in (flag, value) if word not in ("", None)]
        return ScriptRunConfig(
            self.source_directory, self.entry_script, words, self.run_config, compute_target=self.compute_target
        )
