"""An estimator: a script with the packages that it needs, for an `EstimatorStep`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlmake.sdk.environment import CondaDependencies, Environment, RunConfiguration


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
