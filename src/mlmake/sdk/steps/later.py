"""Steps that are to come; until then each says what to use."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from mlmake.errors import NotYetError


class _Later:
    """Raises NotYetError when it is made."""

    instead: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise NotYetError(f"{type(self).__name__} is not there yet", hint=f"meanwhile: {self.instead}")


class ParallelRunStep(_Later):
    """Many inputs in batches."""

    instead = "a step with a `matrix` in pipelines.toml, or one PythonScriptStep for each part"


class ParallelRunConfig(_Later):
    """How a `ParallelRunStep` runs."""

    instead = ParallelRunStep.instead


class HyperDriveStep(_Later):
    """A sweep over parameters."""

    instead = "a step with a `matrix` of the parameters in pipelines.toml"


class AutoMLStep(_Later):
    """A search for a model."""

    instead = "a PythonScriptStep whose script runs the search"


class MpiStep(_Later):
    """A script on several nodes."""

    instead = "a CommandStep with `mpirun -n N python train.py`, on one machine"


class DatabricksStep(_Later):
    """A notebook or job on a cluster of Databricks."""

    instead = "a PythonScriptStep that submits the job and waits for it"


class SynapseSparkStep(_Later):
    """A job of Spark."""

    instead = "a CommandStep with `spark-submit`"


class AdlaStep(_Later):
    """A U-SQL script."""

    instead = "a PythonScriptStep that submits the job and waits for it"


class AzureBatchStep(_Later):
    """A program on a pool of machines."""

    instead = "a CommandStep on a compute target of kind ssh or pool"


class KustoStep(_Later):
    """A query of Kusto."""

    instead = "a PythonScriptStep that sends the query, with allow_reuse=False"


class RScriptStep(_Later):
    """A script in R."""

    instead = "a CommandStep with `Rscript train.R`"
