"""Datastores, and references to what lies in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any

from mlmake.config.places import datastore as checked
from mlmake.config.places import locate
from mlmake.config.problems import Wrong
from mlmake.errors import NotYetError, UnknownName, WrongValue, nearest
from mlmake.sdk.files import brought, declared, sent, store_of
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.sdk.words import VARIABLE, check_port

_SECRETS = ("account_key", "sas_token", "client_secret", "secret", "password", "key", "token")
_FILLED = re.compile(r"\$\{env:\w+\}")


class Datastore:
    """The datastore `name` of a workspace. Raises UnknownName where there is none."""

    def __init__(self, workspace: WorkspaceFolder, name: str) -> None:
        self.workspace = workspace
        self.name = name
        tables = workspace.store_tables()
        if name not in tables:
            near = nearest(name, tables)
            hint = f"did you mean {near!r}?" if near else "declare it under [datastores], or Datastore.register it"
            raise UnknownName(f"no datastore {name!r} in this workspace", hint=hint)
        self._store = declared(name, tables[name])

    @classmethod
    def get(cls, workspace: WorkspaceFolder, datastore_name: str) -> Datastore:
        """The same as `Datastore(workspace, name)`."""
        return cls(workspace, datastore_name)

    @classmethod
    def get_default(cls, workspace: WorkspaceFolder) -> Datastore:
        """The workspace's default."""
        return cls(workspace, workspace.default_store)

    @classmethod
    def register(cls, workspace: WorkspaceFolder, datastore_name: str, url: str, **options: Any) -> Datastore:
        """Keep a folder or any URL that fsspec opens under a name, with options such as `key="${env:LAKE_KEY}"`.

        Raises WrongValue for a URL that is none, and for a secret that is written out.
        """
        for key, value in options.items():
            if key in _SECRETS and isinstance(value, str) and not _FILLED.search(value):
                raise WrongValue(
                    f"datastore {datastore_name}: {key} would be written down", hint=f'give "${{env:{key.upper()}}}"'
                )
        try:
            checked(datastore_name, url, options)
        except Wrong as wrong:
            raise WrongValue(f"datastore {datastore_name}: {wrong.what}") from None
        table: Any = {"url": url, **options} if options else url
        workspace.register("datastore", datastore_name, {"table": table}, is_new=False)
        return cls(workspace, datastore_name)

    @classmethod
    def register_azure_blob_container(
        cls,
        workspace: WorkspaceFolder,
        datastore_name: str,
        container_name: str,
        account_name: str,
        sas_token: str | None = None,
        account_key: str | None = None,
        **ignored: Any,
    ) -> Datastore:
        """A blob container, by way of the extra `abfs`; secrets as `"${env:NAME}"`."""
        given = {"account_name": account_name, "sas_token": sas_token, "account_key": account_key}
        options = {key: value for key, value in given.items() if value}
        return cls.register(workspace, datastore_name, f"abfs://{container_name}", **options)

    @classmethod
    def register_azure_data_lake_gen2(
        cls, workspace: WorkspaceFolder, datastore_name: str, filesystem: str, account_name: str, **options: Any
    ) -> Datastore:
        """A file system of a data lake, by way of the extra `abfs`; secrets as `"${env:NAME}"`."""
        known = ("tenant_id", "client_id", "client_secret", "account_key", "sas_token")
        given = {key: value for key, value in options.items() if key in known and value}
        return cls.register(workspace, datastore_name, f"abfs://{filesystem}", account_name=account_name, **given)

    @classmethod
    def register_azure_file_share(cls, *args: object, **kwargs: object) -> Datastore:
        """Not by its address. Raises NotYetError."""
        raise NotYetError("a file share has no URL that can be read", hint="mount it, and register its folder")

    @classmethod
    def register_azure_sql_database(cls, *args: object, **kwargs: object) -> Datastore:
        """To come. Raises NotYetError."""
        raise NotYetError("data of a database", hint="read it in a step")

    register_azure_postgre_sql = register_azure_my_sql = register_azure_sql_database

    def unregister(self) -> None:
        """Forget one that was registered; what lies in it stays, and so does one of pipelines.toml."""
        self.workspace.unregister("datastore", self.name)

    def set_as_default(self) -> None:
        """Make it the workspace's default."""
        self.workspace.register("setting", "default datastore", {"name": self.name}, is_new=False)

    @property
    def datastore_type(self) -> str:
        """The scheme of its URL; `folder` for one."""
        return self._store.url.partition("://")[0] if self._store.is_remote else "folder"

    @property
    def url(self) -> str:
        """Its folder or URL, as it was declared."""
        return self._store.url

    def path(self, path: str = "", data_reference_name: str | None = None) -> DataReference:
        """What lies at a path of it."""
        return DataReference(self, data_reference_name, path)

    def as_mount(self) -> DataReference:
        """All of it."""
        return DataReference(self)

    def as_download(self, path_on_compute: str | None = None) -> DataReference:
        """The same: the script is handed a path."""
        return DataReference(self)

    as_upload = as_download

    def upload(
        self, src_dir: str, target_path: str = "", overwrite: bool = False, show_progress: bool = True
    ) -> DataReference:
        """Copy a folder's files into it."""
        files = [os.path.join(folder, name) for folder, _, names in os.walk(src_dir) for name in names]
        return self.upload_files(files, src_dir, target_path, overwrite, show_progress)

    def upload_files(
        self,
        files: Iterable[str],
        relative_root: str | None = None,
        target_path: str = "",
        overwrite: bool = False,
        show_progress: bool = True,
    ) -> DataReference:
        """Copy files into it. Raises StoreError where it cannot be reached."""
        names = {
            file: os.path.relpath(file, relative_root) if relative_root else os.path.basename(file) for file in files
        }
        pairs = [(file, os.path.normpath(os.path.join(target_path.strip("/"), name))) for file, name in names.items()]
        with store_of(self.workspace, self._store) as store:
            sent(store, pairs, overwrite=overwrite)
        return DataReference(self, path_on_datastore=target_path)

    def upload_as(self, file: str, path: str) -> DataReference:
        """Copy one file to a path of it, over what stands there. Raises StoreError where it cannot be reached."""
        with store_of(self.workspace, self._store) as store:
            sent(store, [(file, path.strip("/"))], overwrite=True)
        return DataReference(self, path_on_datastore=path)

    def download(
        self, target_path: str, prefix: str | None = None, overwrite: bool = False, show_progress: bool = True
    ) -> int:
        """Copy a file, or what lies under a folder, to a folder, each with its whole path; the number of files.

        Raises StoreError where it cannot be reached.
        """
        with store_of(self.workspace, self._store) as store:
            return brought(store, (prefix or "").strip("/"), target_path, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"Datastore({self.name!r})"


class DataReference:
    """A file or folder in a datastore."""

    def __init__(
        self,
        datastore: Datastore,
        data_reference_name: str | None = None,
        path_on_datastore: str | None = None,
        mode: str = "mount",
        path_on_compute: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore or ""
        self.data_reference_name = check_port(data_reference_name or datastore.name, "data reference")
        self.mode = mode

    @property
    def name(self) -> str:
        return self.data_reference_name

    def path(self, path: str = "", data_reference_name: str | None = None) -> DataReference:
        """What lies at a path below it."""
        joined = "/".join(part for part in (self.path_on_datastore.strip("/"), path) if part)
        return DataReference(self.datastore, data_reference_name or self.data_reference_name, joined)

    def as_mount(self) -> DataReference:
        """The script is handed a path, however it comes there."""
        return self

    def as_download(self, path_on_compute: str | None = None, overwrite: bool = False) -> DataReference:
        """The same: the script is handed a path."""
        return self

    as_upload = as_download

    def texts(self) -> tuple[str, ...]:
        """How pipelines.toml would say it."""
        return (text_of(self.datastore, self.path_on_datastore),)

    def __str__(self) -> str:
        return f"{VARIABLE}{self.name}"

    def __repr__(self) -> str:
        return f"DataReference({self.data_reference_name!r}, {self.texts()[0]!r})"


class DataPath:
    """A path in a datastore, as a value of a pipeline's parameter."""

    def __init__(
        self, datastore: Datastore | None = None, path_on_datastore: str | None = None, name: str | None = None
    ) -> None:
        if datastore is None:
            raise WrongValue("a DataPath needs a datastore")
        self.datastore = datastore
        self.path_on_datastore = path_on_datastore or ""
        self.name = name or datastore.name

    @property
    def datastore_name(self) -> str:
        return self.datastore.name

    def texts(self) -> tuple[str, ...]:
        """How pipelines.toml would say it."""
        return (text_of(self.datastore, self.path_on_datastore),)

    @staticmethod
    def create_from_data_reference(data_reference: DataReference) -> DataPath:
        """The path of a reference."""
        return DataPath(data_reference.datastore, data_reference.path_on_datastore, data_reference.name)


class DataPathComputeBinding:
    """How a `DataPath` comes to a step; whatever it says, the script is handed a path."""

    def __init__(self, mode: str = "mount", path_on_compute: str | None = None, overwrite: bool | None = False) -> None:
        if mode not in ("mount", "download", "upload"):
            raise WrongValue(f"mode is mount, download or upload, not {mode!r}")
        self.mode = mode


def text_of(datastore: Datastore, path: str) -> str:
    """A path in a datastore, as pipelines.toml says it. Raises WrongValue for one that leads out of it."""
    text = f"{datastore.name}://{path.strip() if path.strip('/') else '.'}".replace(":///", "://")
    workspace = datastore.workspace
    try:
        locate(text, workspace.root, {datastore.name: datastore._store}, globs=True)
    except Wrong as wrong:
        raise WrongValue(f"{text}: {wrong.what}") from None
    return text
