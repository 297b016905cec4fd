"""What steps hand over to each other: outputs before they are made, and how steps take them in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlmake.errors import NotYetError, WrongValue
from mlmake.sdk import reading
from mlmake.sdk.datastore import Datastore
from mlmake.sdk.words import VARIABLE, check_port


class Made:
    """An output that a step makes. `producer` is that step, None until one has it among its outputs.

    Attributes:
        name: as an input of other steps.
        output_name: as an output of the step that makes it.
        destination: where it will stand, if that was said: a datastore and a path.
        registers: what to register it as when the step has ended well: `name`, `description`, `tags`.
    """

    def __init__(self, name: str, output_name: str, datastore: Datastore | None, *, is_directory: bool) -> None:
        self.name = check_port(name, "output")
        self.output_name = check_port(output_name, "output")
        self.datastore = datastore
        self.is_directory = is_directory
        self.destination: tuple[Datastore, str] | None = None
        self.registers: dict[str, Any] | None = None
        self.pipeline_output_name: str | None = None
        self.producer: Any = None

    def as_input(self, input_name: str | None = None) -> InputPortBinding:
        """It as an input, under another name if you like."""
        return InputPortBinding(input_name or self.name, self)

    def get_env_variable_name(self) -> str:
        """What stands for its path in a text among the arguments."""
        return f"{VARIABLE}{self.name}"

    def __str__(self) -> str:
        return self.get_env_variable_name()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class PipelineData(Made):
    """A file or folder that one step makes and others read.

    The script is handed a path, and makes a file or a folder there; with `is_directory` the folder is there.
    """

    def __init__(
        self,
        name: str,
        datastore: Datastore | None = None,
        output_name: str | None = None,
        output_mode: str = "mount",
        output_path_on_compute: str | None = None,
        output_overwrite: bool | None = None,
        data_type: str | None = None,
        is_directory: bool | None = None,
        pipeline_output_name: str | None = None,
        training_output: object = None,
    ) -> None:
        super().__init__(name, output_name or name, datastore, is_directory=bool(is_directory))
        if output_mode not in ("mount", "upload"):
            raise WrongValue(f"output_mode is mount or upload, not {output_mode!r}")
        if output_mode == "upload" and output_path_on_compute:
            raise WrongValue(
                f"output {name}: a script writes to the path that it is handed, not to {output_path_on_compute!r}",
                hint="hand the output over in `arguments`, and leave output_path_on_compute out",
            )
        self.data_type = data_type
        self.pipeline_output_name = pipeline_output_name

    def as_mount(self, input_name: str | None = None) -> InputPortBinding:
        """It as an input: the script is handed a path."""
        return self.as_input(input_name)

    def as_download(
        self, input_name: str | None = None, path_on_compute: str | None = None, overwrite: bool | None = None
    ) -> InputPortBinding:
        """The same: the script is handed a path."""
        return self.as_input(input_name)

    def create_input_binding(
        self,
        input_name: str | None = None,
        mode: str | None = None,
        path_on_compute: str | None = None,
        overwrite: bool | None = None,
    ) -> InputPortBinding:
        """The same once more."""
        return self.as_input(input_name)

    def as_dataset(self) -> PipelineOutputFileDataset:
        """It as a dataset, for steps that take datasets."""
        return PipelineOutputFileDataset(self)


class InputPortBinding:
    """Something under the name of an input."""

    def __init__(
        self,
        name: str,
        bind_object: Any = None,
        bind_mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool | None = None,
        is_resource: bool = False,
        additional_transformations: object = None,
    ) -> None:
        if bind_object is None:
            raise WrongValue(f"input {name}: bind_object says what it is")
        self.name = check_port(name, "input")
        self.bind_object = bind_object
        self.bind_mode = bind_mode
        if is_resource:
            self.as_resource()

    def as_resource(self) -> InputPortBinding:
        """Beside the script: nothing is put there. Raises NotYetError."""
        raise NotYetError(f"input {self.name}: no data is put beside the script", hint="hand its path over instead")

    def __str__(self) -> str:
        return f"{VARIABLE}{self.name}"


class OutputPortBinding(Made):
    """An output by its name and datastore."""

    def __init__(
        self,
        name: str,
        datastore: Datastore | None = None,
        output_name: str | None = None,
        bind_mode: str = "mount",
        path_on_compute: str | None = None,
        is_directory: bool | None = None,
        overwrite: bool | None = None,
        data_type: str | None = None,
        pipeline_output_name: str | None = None,
        **ignored: object,
    ) -> None:
        super().__init__(name, output_name or name, datastore, is_directory=bool(is_directory))
        self.pipeline_output_name = pipeline_output_name


class PipelineOutputFileDataset:
    """An output as a dataset of files."""

    def __init__(self, pipeline_data: Made, input_name: str | None = None) -> None:
        self.pipeline_data = pipeline_data
        self.name = input_name or pipeline_data.name

    def as_named_input(self, name: str) -> PipelineOutputFileDataset:
        """Under another name."""
        return type(self)(self.pipeline_data, check_port(name, "input"))

    def as_mount(self, path_on_compute: str | None = None) -> PipelineOutputFileDataset:
        """The script is handed a path."""
        return self

    as_download = as_mount

    def as_direct(self) -> PipelineOutputFileDataset:
        """The same."""
        return self

    def register(self, name: str, create_new_version: bool = True) -> PipelineOutputFileDataset:
        """Register what was written as a new version of a dataset, when the step that makes it has ended well."""
        self.pipeline_data.registers = {"name": name, "description": "", "tags": {}}
        return self

    def parse_delimited_files(
        self,
        include_path: bool = False,
        separator: str = ",",
        header: object = True,
        partition_format: str | None = None,
        file_extension: str = "",
        set_column_types: object = None,
        quoted_line_breaks: bool = False,
    ) -> PipelineOutputTabularDataset:
        """The tables in its text files: by default of the extension that goes with the separator."""
        how = reading.delimited(
            separator=separator,
            header=header,
            extension=file_extension or {",": ".csv", "\t": ".tsv"}.get(separator, ""),
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
        )
        return PipelineOutputTabularDataset(self.pipeline_data, self.name, how)

    def parse_parquet_files(
        self,
        include_path: bool = False,
        partition_format: str | None = None,
        file_extension: str = ".parquet",
        set_column_types: object = None,
    ) -> PipelineOutputTabularDataset:
        """The tables in its Parquet files."""
        how = reading.told(
            "parquet",
            extension=file_extension,
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
        )
        return PipelineOutputTabularDataset(self.pipeline_data, self.name, how)

    def __str__(self) -> str:
        return f"{VARIABLE}{self.name}"


class PipelineOutputTabularDataset:
    """An output as a table, which a step reads from `Run.input_datasets`; `how` says how its files are read."""

    def __init__(self, pipeline_data: Made, name: str, how: Mapping[str, Any]) -> None:
        self.pipeline_data = pipeline_data
        self.name = check_port(name, "input")
        self.how = dict(how)

    def as_named_input(self, name: str) -> PipelineOutputTabularDataset:
        """Under another name."""
        return PipelineOutputTabularDataset(self.pipeline_data, name, self.how)

    as_input = as_named_input

    def keep_columns(self, columns: Sequence[str]) -> PipelineOutputTabularDataset:
        """Without all other columns."""
        return PipelineOutputTabularDataset(self.pipeline_data, self.name, reading.kept(self.how, columns))

    def drop_columns(self, columns: Sequence[str]) -> PipelineOutputTabularDataset:
        """Without these columns."""
        return PipelineOutputTabularDataset(self.pipeline_data, self.name, reading.dropped(self.how, columns))


class OutputFileDatasetConfig(Made):
    """A folder that a step writes; it is there when the step starts.

    `destination` is a datastore and a path, in which `{output-name}` is filled, and `{run-id}` with the step's name: a
    place that changed with every run could never be reused.
    """

    def __init__(
        self,
        name: str | None = None,
        destination: tuple[Datastore, str] | None = None,
        source: str | None = None,
        partition_format: str | None = None,
    ) -> None:
        self.is_named = name is not None
        super().__init__(name or "output", name or "output", None, is_directory=True)
        if source is not None:
            raise WrongValue("source: a script writes to the path that it is handed", hint="leave `source` out")
        self.destination = destination
        self.datastore = destination[0] if destination else None
        self._partition_format = partition_format

    def as_mount(self, disable_metadata_cache: bool = False) -> OutputFileDatasetConfig:
        """The script is handed a path."""
        return self

    def as_upload(self, overwrite: bool = False, source_globs: object = None) -> OutputFileDatasetConfig:
        """The same: what the step wrote stands in its place when it has ended well.

        Raises NotYetError for `source_globs`: all that is written counts.
        """
        if source_globs is not None:
            raise NotYetError(f"output {self.name}: all that is written is kept", hint="leave `source_globs` out")
        return self

    def read_delimited_files(self, *args: Any, **kwargs: Any) -> PipelineOutputTabularDataset:
        """The tables in its text files, as an input, with the arguments of `parse_delimited_files`."""
        return self._files().parse_delimited_files(*args, **self._partitioned(kwargs))

    def read_parquet_files(self, *args: Any, **kwargs: Any) -> PipelineOutputTabularDataset:
        """The tables in its Parquet files, as an input."""
        return self._files().parse_parquet_files(*args, **self._partitioned(kwargs))

    def _files(self) -> PipelineOutputFileDataset:
        return PipelineOutputFileDataset(self)

    def _partitioned(self, told: dict[str, Any]) -> dict[str, Any]:
        return {"partition_format": self._partition_format, **told}

    def register_on_complete(
        self, name: str, description: str | None = None, tags: dict[str, str] | None = None
    ) -> OutputFileDatasetConfig:
        """Register what was written as a new version of a dataset, when the step has ended well."""
        self.registers = {"name": name, "description": description or "", "tags": tags or {}}
        return self


class TrainingOutput:
    """Which result of a sweep an output is; the steps that take it are to come."""

    def __init__(
        self, type: str, iteration: int | None = None, metric: str | None = None, model_file: str | None = None
    ) -> None:
        if type not in ("Metrics", "Model"):
            raise WrongValue(f"type is Metrics or Model, not {type!r}")
        if type == "Metrics" and (iteration is not None or metric):
            raise WrongValue("iteration and metric go with a Model")
        if iteration is not None and metric:
            raise WrongValue("iteration or metric, not both")
        self.type, self.iteration, self.metric, self.model_file = type, iteration, metric, model_file
