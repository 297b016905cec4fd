"""What a step of kind `pick` runs: FILE OUTPUT -- KEY …"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from mlmake.errors import MlmakeError, UsageError
from mlmake.model.data import Value
from mlmake.services.importing.reading import read


def pick(file: str, keys: Sequence[str]) -> dict[str, Value]:
    """The values of dotted keys in a file of parameters; a number is a place in a list. Raises UsageError."""
    document = read(file)
    return {key: _value(document, key, file) for key in keys}


def _value(document: Value, key: str, file: str) -> Value:
    found = document
    for part in key.split("."):
        try:
            found = found[int(part)] if isinstance(found, list | tuple) else found[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise UsageError(f"{file} has no {key!r}") from None
    return found


def main(words: Sequence[str]) -> None:
    """Write the values. Raises UsageError."""
    file, output, _, *keys = words
    with open(output, "w", encoding="utf-8") as out:
        json.dump(pick(file, keys), out, indent=2, default=str, sort_keys=True)
        out.write("\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MlmakeError as error:
        sys.exit(f"{error.message}\n{error.hint}".strip())
