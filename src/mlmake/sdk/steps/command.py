"""A step that runs a command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from mlmake.errors import WrongValue
from mlmake.sdk.environment import ScriptRunConfig
from mlmake.sdk.step import Drafting, PipelineStep, no_nodes

_WORD = re.compile(r"[\w./-]+")


class CommandStep(PipelineStep):
    """Runs `command`: a text goes to the shell; the items of a list are joined by spaces, and go there too.

    Inputs, outputs and parameters among the items become their values, quoted.
    """

    kind: ClassVar[str] = "command"

    def __init__(
        self,
        command: str | Sequence[Any] | None = None,
        name: str | None = None,
        compute_target: Any = None,
        runconfig: Any = None,
        runconfig_pipeline_params: Mapping[str, Any] | None = None,
        inputs: Iterable[Any] | None = None,
        outputs: Iterable[Any] | None = None,
        params: Mapping[str, Any] | None = None,
        source_directory: str | None = None,
        allow_reuse: bool = True,
        version: str | None = None,
    ) -> None:
        given = (
            command if command is not None else runconfig.command if isinstance(runconfig, ScriptRunConfig) else None
        )
        words = [given] if isinstance(given, str) else list(given or [])
        if not words:
            raise WrongValue("a CommandStep needs a command", hint="command=..., or a ScriptRunConfig with one")
        first = str(words[0]).split()[0] if str(words[0]).split() else "command"
        no_nodes(runconfig_pipeline_params)
        super().__init__(name or first.rpartition("/")[2], inputs, outputs, words)
        self.params = dict(params or {})
        self.compute_target = compute_target
        self.runconfig = runconfig
        self.source_directory = source_directory
        self.allow_reuse = allow_reuse
        self.version = version

    def _with_paths(self, text: str, draft: Drafting) -> str:
        """Words that name files of the source directory, by the paths that these have in the workspace."""
        folder = os.path.join(draft.folder, self.source_directory or "")

        def placed(found: re.Match[str]) -> str:
            path = os.path.join(folder, found[0])
            return draft.workspace.inside(path, "file") if os.path.isfile(path) else found[0]

        return _WORD.sub(placed, text) if self.source_directory else text

    def table(self, draft: Drafting) -> dict[str, Any]:
        words = draft.arguments(self, self.arguments)
        return {
            "command": " ".join(self._with_paths(word, draft) for word in words),
            "params": draft.params(self, self.params),
            **draft.setting(
                self, self.compute_target, self.runconfig, allow_reuse=self.allow_reuse, version=self.version
            ),
        }
