"""Datasets: files by their paths and globs, or tables in them, with versions in the workspace."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from tempfile import TemporaryDirectory
from typing import Any, Self, TypeAlias

from mlmake import table
from mlmake.errors import NotYetError, UnknownName, WrongValue
from mlmake.sdk import reading
from mlmake.sdk.datastore import DataPath, DataReference, Datastore, text_of
from mlmake.sdk.files import Files, opened
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.words import VARIABLE
from mlmake.state.registered import Entry

_INPUT = re.compile(r"[A-Za-z_]\w*")
_ALL_OF = re.compile(r"/?\*\*?(/\*\*?)?")
Paths: TypeAlias = "str | DataReference | DataPath | tuple[Datastore, str] | Sequence[Any]"
"""A URL or project path, a reference, a datastore with a path or glob, or a list of these."""


class AnyDataset:
    """What both kinds of dataset have. `version` is None until it is registered."""

    kind = ""

    def __init__(
        self, paths: Sequence[str], workspace: WorkspaceFolder | None, how: Mapping[str, Any] | None = None
    ) -> None:
        self._paths = tuple(paths)
        self._workspace = workspace
        self.how = dict(how or {})
        self.name: str | None = None
        self.version: int | None = None
        self.description = ""
        self.tags: dict[str, str] = {}

    @property
    def id(self) -> str:
        """Its name and version."""
        return f"{self.name}:{self.version}" if self.name else ""

    def texts(self) -> tuple[str, ...]:
        """Its paths as pipelines.toml would say them: a glob for all of a folder is that folder."""
        return tuple(map(_as_folder, self._paths))

    def as_named_input(self, name: str) -> DatasetConsumptionConfig:
        """It as an input of a step."""
        return DatasetConsumptionConfig(name, self)

    def register(
        self,
        workspace: WorkspaceFolder,
        name: str,
        description: str | None = None,
        tags: dict[str, str] | None = None,
        create_new_version: bool = False,
    ) -> Self:
        """Keep it under a name. Raises WrongValue for a name that stands for something else already, unless a new
        version is asked for."""
        body = {"kind": self.kind, "paths": self._paths, "how": self.how}
        newest = workspace.entry("dataset", name)
        is_same = newest is not None and {key: newest.body[key] for key in body} == {**body, "paths": [*self._paths]}
        if newest and not is_same and not create_new_version:
            raise WrongValue(
                f"dataset {name!r} is registered already and is another one", hint="say create_new_version=True"
            )
        if newest is None or not is_same:
            body.update(description=description or "", tags=tags or {})
            newest = workspace.register("dataset", name, body)
        return self._told(newest, workspace)

    @property
    def partition_keys(self) -> list[str]:
        """The names in its `partition_format`."""
        return table.partition_keys(self.how.get("partition_format", ""))

    def get_partition_key_values(self, partition_keys: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """What its files' paths say, each once. Raises WrongValue for a path of another form."""
        names = partition_keys or self.partition_keys
        if not names:
            return []
        try:
            with self._opened() as files:
                told = [table.partition(file, self.how["partition_format"]) for file in files.full_names]
        except ValueError as error:
            raise WrongValue(str(error)) from None
        found = {tuple(each[name] for name in names): None for each in told}
        return [dict(zip(names, values, strict=True)) for values in found]

    def unregister_all_versions(self) -> None:
        """Forget its name."""
        if self._workspace and self.name:
            self._workspace.unregister("dataset", self.name)

    def _told(self, entry: Entry, workspace: WorkspaceFolder) -> Self:
        self._workspace, self.name, self.version = workspace, entry.name, entry.version
        self.description, self.tags = entry.body["description"], dict(entry.body["tags"])
        return self

    def _opened(self) -> AbstractContextManager[Files]:
        """Its files, as they are now. Raises WrongValue, StoreError."""
        return opened(self._paths, self._workspace)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self._paths)!r})"


class FileDataset(AnyDataset):
    """Files, whatever is in them."""

    kind = "file"

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """It as an input, under its own name. Raises WrongValue where it has none."""
        if not self.name:
            raise WrongValue("this dataset has no name: say as_named_input(name) first")
        return DatasetConsumptionConfig(re.sub(r"\W", "_", self.name), self)

    as_download = as_mount

    def to_path(self) -> list[str]:
        """Its files, each with a slash before its path."""
        with self._opened() as files:
            return [f"/{name}" for name in files.names]

    def download(self, target_path: str | None = None, overwrite: bool = False) -> list[str]:
        """Copy its files into a folder; their new paths. Raises StoreError, OSError."""
        with self._opened() as files:
            return files.bring(target_path or ".", overwrite=overwrite)


class TabularDataset(AnyDataset):
    """Tables; `how` says how their files are read."""

    kind = "tabular"

    def to_pandas_dataframe(self) -> Any:
        """All of it as one frame of pandas."""
        how = dict(self.how)
        with self._opened() as files, TemporaryDirectory() as folder:
            paths = files.paths
            paths = files.bring(folder, overwrite=True) if paths is None else paths
            return table.Table(paths, how.pop("format", ""), how).to_pandas_dataframe()

    def keep_columns(self, columns: str | Sequence[str], validate: bool = False) -> TabularDataset:
        """Without all other columns."""
        return TabularDataset(self._paths, self._workspace, reading.kept(self.how, columns))

    def drop_columns(self, columns: str | Sequence[str]) -> TabularDataset:
        """Without these columns."""
        return TabularDataset(self._paths, self._workspace, reading.dropped(self.how, columns))

    def take(self, count: int) -> TabularDataset:
        """The first rows alone."""
        return TabularDataset(self._paths, self._workspace, reading.taken(self.how, count))

    def skip(self, count: int) -> TabularDataset:
        """Without the first rows."""
        return TabularDataset(self._paths, self._workspace, reading.skipped(self.how, count))


class DatasetConsumptionConfig:
    """A dataset under the name of an input. `dataset` may be a parameter, or (workspace, name[, version])."""

    def __init__(self, name: str, dataset: Any, mode: str = "direct", path_on_compute: str | None = None) -> None:
        if not _INPUT.fullmatch(name):
            raise WrongValue(f"input {name!r}: its name may hold letters, digits and _ only, and no digit first")
        if isinstance(dataset, tuple):
            dataset = Dataset.get_by_name(*dataset)
        if mode not in ("direct", "mount", "download"):
            raise WrongValue(f"mode is direct, mount or download, not {mode!r}")
        self.name = name
        self.dataset = dataset
        self.mode = mode

    def as_mount(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The script is handed a path. Raises WrongValue for a table."""
        return self._as("mount")

    def as_download(self, path_on_compute: str | None = None) -> DatasetConsumptionConfig:
        """The same."""
        return self._as("download")

    def __str__(self) -> str:
        return f"{VARIABLE}{self.name}"

    def _as(self, mode: str) -> DatasetConsumptionConfig:
        if isinstance(self.dataset, TabularDataset):
            raise WrongValue(f"input {self.name}: a table is read directly, from Run.input_datasets[{self.name!r}]")
        return DatasetConsumptionConfig(self.name, self.dataset, mode)


class PipelineDataset:
    """A dataset as an input, in the way that came before `as_named_input`."""

    def __init__(self, dataset: AnyDataset, name: str | None = None, **ignored: object) -> None:
        self.dataset = dataset
        self.name = name or dataset.name or "dataset"

    @classmethod
    def create(cls, dataset: AnyDataset, name: str | None = None, **ignored: object) -> PipelineDataset:
        """The same as `PipelineDataset(dataset, name)`."""
        return cls(dataset, name)

    @staticmethod
    def is_dataset(value: object) -> bool:
        """Whether something is a dataset."""
        return isinstance(value, AnyDataset)


class _Files:
    """`Dataset.File`: makes datasets of files."""

    def from_files(
        self,
        path: Paths,
        validate: bool = True,
        partition_format: str | None = None,
        is_file: bool = False,
    ) -> FileDataset:
        """A dataset of the files at a path or glob, or at several."""
        texts, workspace = _texts(path)
        return FileDataset(texts, workspace, {"partition_format": partition_format} if partition_format else None)

    def upload_directory(
        self,
        src_dir: str,
        target: tuple[Datastore, str] | DataReference,
        pattern: str | None = None,
        overwrite: bool = False,
    ) -> FileDataset:
        """Copy a folder into a datastore, and make a dataset of it there."""
        store, path = (target.datastore, target.path_on_datastore) if isinstance(target, DataReference) else target
        store.upload(src_dir, path, overwrite)
        return self.from_files((store, f"{path.rstrip('/')}/**"))


class _Tables:
    """`Dataset.Tabular`: makes datasets of tables."""

    def from_delimited_files(
        self,
        path: Paths,
        validate: bool = True,
        include_path: bool = False,
        infer_column_types: bool = True,
        set_column_types: object = None,
        separator: str = ",",
        header: object = True,
        partition_format: str | None = None,
        support_multi_line: bool = False,
        empty_as_string: bool = False,
        encoding: str = "utf8",
    ) -> TabularDataset:
        """Tables in text files."""
        texts, workspace = _texts(path)
        how = reading.delimited(
            separator=separator,
            header=header,
            infer_column_types=infer_column_types,
            empty_as_string=empty_as_string,
            encoding=encoding,
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
        )
        return TabularDataset(texts, workspace, how)

    def from_parquet_files(
        self,
        path: Paths,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: object = None,
        partition_format: str | None = None,
    ) -> TabularDataset:
        """Tables in Parquet files."""
        how = reading.told(
            "parquet",
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
        )
        return TabularDataset(*_texts(path), how)

    def from_json_lines_files(
        self,
        path: Paths,
        validate: bool = True,
        include_path: bool = False,
        set_column_types: object = None,
        partition_format: str | None = None,
        **ignored: object,
    ) -> TabularDataset:
        """Tables with a JSON object a line."""
        how = reading.told(
            "json_lines",
            include_path=include_path,
            partition_format=partition_format,
            set_column_types=set_column_types,
        )
        return TabularDataset(*_texts(path), {**how, "lines": True})

    def from_sql_query(self, *args: object, **kwargs: object) -> TabularDataset:
        """To come. Raises NotYetError."""
        raise NotYetError("data of a database", hint="read it in a step")

    def register_pandas_dataframe(
        self, dataframe: Any, target: tuple[Datastore, str] | Datastore, name: str, **ignored: object
    ) -> TabularDataset:
        """Write a frame into a datastore as Parquet, and register it."""
        store, path = target if isinstance(target, tuple) else (target, f"managed-dataset/{name}")
        file = f"{path.rstrip('/')}/{name}.parquet"
        with TemporaryDirectory() as folder:
            dataframe.to_parquet(os.path.join(folder, "frame.parquet"))
            store.upload_as(os.path.join(folder, "frame.parquet"), file)
        return self.from_parquet_files((store, file)).register(store.workspace, name, create_new_version=True)


class Dataset:
    """Makes datasets, and finds registered ones."""

    File = _Files()
    Tabular = _Tables()

    @staticmethod
    def get_by_name(workspace: WorkspaceFolder, name: str, version: int | str = "latest") -> Any:
        """A registered dataset. Raises UnknownName."""
        wanted = None if version == "latest" else int(version)
        entry = workspace.entry("dataset", name, wanted)
        if entry is None:
            said = f"version {version} of dataset" if wanted else "dataset"
            raise UnknownName(f"no {said} {name!r} in this workspace")
        return _of_entry(entry, workspace)

    @staticmethod
    def get_all(workspace: WorkspaceFolder) -> dict[str, AnyDataset]:
        """The newest version of each."""
        return {name: _of_entry(entry, workspace) for name, entry in workspace.entries("dataset").items()}

    @staticmethod
    def get_by_id(workspace: WorkspaceFolder, id: str) -> Any:
        """A registered dataset by `name:version`."""
        name, _, version = id.rpartition(":")
        return Dataset.get_by_name(workspace, name, version)


def _of_entry(entry: Entry, workspace: WorkspaceFolder) -> AnyDataset:
    made = {"file": FileDataset, "tabular": TabularDataset}[entry.body["kind"]]
    return made(entry.body["paths"], workspace, entry.body["how"])._told(entry, workspace)


def _texts(path: Any) -> tuple[tuple[str, ...], WorkspaceFolder | None]:
    """Paths as pipelines.toml says them, and the workspace that their datastores are of."""
    if isinstance(path, str):
        return (path,), None
    if isinstance(path, DataReference | DataPath):
        return path.texts(), path.datastore.workspace
    if isinstance(path, tuple) and len(path) == 2 and isinstance(path[0], Datastore):
        store, inner = path
        every = [inner] if isinstance(inner, str) else list(inner)
        return tuple(text_of(store, each) for each in every), store.workspace
    if isinstance(path, Iterable):
        parts = [_texts(each) for each in path]
        texts = tuple(text for found, _ in parts for text in found)
        return texts, next((workspace for _, workspace in parts if workspace), None)
    raise WrongValue(f"a dataset is made of paths, references or (datastore, path), not of {type(path).__name__}")


def _as_folder(text: str) -> str:
    """`store://a/**` is all of the folder `store://a/`."""
    head, _, _ = text.partition("*")
    rest = text[len(head) :]
    return head if rest and head.endswith("/") and _ALL_OF.fullmatch(rest) else text
