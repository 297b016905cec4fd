"""What `mlmake.core` has, for type checkers and editors."""

from mlmake.sdk import (
    VERSION as VERSION,
)
from mlmake.sdk import (
    ComputeTarget as ComputeTarget,
)
from mlmake.sdk import (
    Dataset as Dataset,
)
from mlmake.sdk import (
    Datastore as Datastore,
)
from mlmake.sdk import (
    Environment as Environment,
)
from mlmake.sdk import (
    Experiment as Experiment,
)
from mlmake.sdk import (
    Model as Model,
)
from mlmake.sdk import (
    Run as Run,
)
from mlmake.sdk import (
    RunConfiguration as RunConfiguration,
)
from mlmake.sdk import (
    ScriptRunConfig as ScriptRunConfig,
)
from mlmake.sdk import (
    Workspace as Workspace,
)

__all__ = [
    "VERSION",
    "ComputeTarget",
    "Dataset",
    "Datastore",
    "Environment",
    "Experiment",
    "Model",
    "Run",
    "RunConfiguration",
    "ScriptRunConfig",
    "Workspace",
]
