"""Parameters of a pipeline: values that a submission may replace."""

from __future__ import annotations

from typing import Any, TypeAlias

from mlmake.errors import WrongValue
from mlmake.sdk.dataset import FileDataset, PipelineDataset, TabularDataset
from mlmake.sdk.datastore import DataPath, DataPathComputeBinding

Bound: TypeAlias = "tuple[PipelineParameter, DataPathComputeBinding]"
"""A parameter that is a path, as an input."""
_SIMPLE = (str, int, float, bool)
_DATASETS = (FileDataset, TabularDataset)


class PipelineParameter:
    """A value with a name and a default: for a step's arguments, its `params` or, as a path or dataset, its inputs."""

    def __init__(self, name: str, default_value: Any) -> None:
        if isinstance(default_value, PipelineDataset):
            default_value = default_value.dataset
        if not isinstance(default_value, (*_SIMPLE, DataPath, *_DATASETS)):
            raise WrongValue(
                f"parameter {name}: its default is a str, int, float, bool, DataPath or dataset, "
                f"not {type(default_value).__name__}"
            )
        self.name = name
        self.default_value = default_value

    @property
    def is_data(self) -> bool:
        """It is a path or a dataset."""
        return not isinstance(self.default_value, _SIMPLE)

    def value_of(self, given: Any) -> Any:
        """A value given for it, of its own type where that can be. Raises WrongValue."""
        if not isinstance(given, (*_SIMPLE, DataPath, *_DATASETS)):
            raise WrongValue(f"Invalid parameter type: {type(given).__name__}, for parameter {self.name}")
        if self.is_data != (not isinstance(given, _SIMPLE)):
            raise WrongValue(f"parameter {self.name} is a {type(self.default_value).__name__}: give another one")
        if isinstance(self.default_value, _DATASETS) and type(given) is not type(self.default_value):
            raise WrongValue(f"parameter {self.name} is a {type(self.default_value).__name__}: give another one")
        return given if self.is_data else self._alike(given)

    def _alike(self, given: Any) -> Any:
        """`"20"` for a number is 20: the same value, so that what was made with it is fresh."""
        default = self.default_value
        if isinstance(default, str):
            return str(given)
        if isinstance(default, bool):
            return {"true": True, "false": False}.get(str(given).lower(), given)
        for kind in (int, float) if isinstance(default, int) else (float,):
            try:
                return kind(given)
            except ValueError:
                continue
        return given

    def __repr__(self) -> str:
        return f"PipelineParameter({self.name!r}, {self.default_value!r})"

    def __str__(self) -> str:
        return f"PipelineParameter(name={self.name}, default={self.default_value})"
