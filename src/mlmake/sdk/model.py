"""Models: files under a name, with versions."""

from __future__ import annotations

import builtins
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mlmake.errors import UnknownName, WrongValue
from mlmake.sdk.files import copied
from mlmake.sdk.folder import WorkspaceFolder
from mlmake.state.registered import Entry

_KIND = "model"


class Model:
    """A version of a registered model, the newest by default. Raises UnknownName where there is none."""

    def __init__(
        self, workspace: WorkspaceFolder, name: str | None = None, id: str | None = None, version: int | None = None
    ) -> None:
        if id is not None:
            name, _, said = id.rpartition(":")
            version = int(said)
        entry = workspace.entry(_KIND, name or "", version)
        if entry is None:
            said = f" of version {version}" if version else ""
            raise UnknownName(f"no model {name!r}{said} in this workspace")
        self.workspace = workspace
        self.name = entry.name
        self.version = entry.version
        self.tags: dict[str, str] = dict(entry.body["tags"])
        self.properties: dict[str, str] = dict(entry.body["properties"])
        self.description = str(entry.body["description"])
        self.run_id = str(entry.body["run_id"])

    @property
    def id(self) -> str:
        return f"{self.name}:{self.version}"

    @staticmethod
    def register(
        workspace: WorkspaceFolder,
        model_path: str,
        model_name: str,
        tags: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
        description: str | None = None,
        *,
        run_id: str = "",
        **ignored: Any,
    ) -> Model:
        """Keep a file or folder as a new version, from 1 on. Raises WrongValue where it is not there."""
        if not os.path.exists(model_path):
            raise WrongValue(f"no model at {model_path}")
        body = {
            "tags": dict(tags or {}),
            "properties": dict(properties or {}),
            "description": description or "",
            "run_id": run_id,
            "file": os.path.basename(os.path.normpath(model_path)),
        }
        entry = workspace.register(_KIND, model_name, body)
        copied(model_path, _place(workspace, entry))
        return Model(workspace, model_name, version=entry.version)

    @staticmethod
    def list(
        workspace: WorkspaceFolder,
        name: str | None = None,
        tags: Mapping[str, str] | Iterable[str | Sequence[str]] | None = None,
        latest: bool = False,
    ) -> builtins.list[Model]:
        """All versions of all models, or of one; with `latest` the newest of each.

        `tags` are names, or pairs of a name and a value, that each must have.
        """
        names = [name] if name else builtins.list(workspace.entries(_KIND))
        entries = [each for one in names for each in workspace.versions(_KIND, one)[: 1 if latest else None]]
        asked = tags.items() if isinstance(tags, Mapping) else tags or ()
        pairs: builtins.list[Sequence[str]] = [(each,) if isinstance(each, str) else each for each in asked]
        return [
            Model(workspace, entry.name, version=entry.version)
            for entry in entries
            if all(key in entry.body["tags"] and value in ([], [entry.body["tags"][key]]) for key, *value in pairs)
        ]

    @staticmethod
    def get_model_path(model_name: str, version: int | None = None, _workspace: WorkspaceFolder | None = None) -> str:
        """Where the files of a model are. Raises UnknownName."""
        workspace = _workspace or WorkspaceFolder.from_config()
        return Model(workspace, model_name, version=version).path

    @property
    def path(self) -> str:
        """Where its file or folder is kept; not to be written to."""
        entry = self.workspace.entry(_KIND, self.name, self.version)
        assert entry is not None, "it was there when this was made"
        return _place(self.workspace, entry)

    def download(self, target_dir: str = ".", exist_ok: bool = False) -> str:
        """Copy it into a folder; where it is now. Raises WrongValue for what is there already."""
        target = os.path.join(target_dir, os.path.basename(self.path))
        if os.path.lexists(target) and not exist_ok:
            raise WrongValue(f"{target} is there already", hint="say exist_ok=True to replace it")
        return copied(self.path, target)

    def delete(self) -> None:
        """Forget this version."""
        self.workspace.unregister(_KIND, self.name, self.version)

    def __repr__(self) -> str:
        return f"Model({self.id!r})"


def _place(workspace: WorkspaceFolder, entry: Entry) -> str:
    return os.path.join(workspace.home.models, entry.name, str(entry.version), entry.body["file"])
