"""Names as people give them, and as a pipelines.toml takes them."""

from __future__ import annotations

import re
from collections.abc import Container

from mlmake import __version__
from mlmake.errors import WrongValue
from mlmake.model.data import Value
from mlmake.model.template import meant, placeholders

VERSION = __version__
"""For scripts that print the version of the SDK."""
PORT = re.compile(r"[A-Za-z0-9_]+")
EXPERIMENT = re.compile(r"[a-zA-Z0-9][\w-]{0,254}")
VARIABLE = "$AZUREML_DATAREFERENCE_"
"""Before the name of an input or output in a text that names it: an argument such as `f"--to={output}"`."""
_NO_NAME = re.compile(r"[^\w-]+")
_BRACES = re.compile(r"\{(\w+\.[^{}\s]+)\}")


def check_port(name: object, what: str) -> str:
    """The name of an input or output. Raises WrongValue."""
    if not isinstance(name, str) or not PORT.fullmatch(name):
        raise WrongValue(f"{what} {name!r}: its name may hold letters, digits and _ only")
    return name


def table_name(name: str, taken: Container[str] = ()) -> str:
    """A name as a table of a pipelines.toml may have it: `train.py` is `train`, `Fit it` is `Fit_it`."""
    first = _NO_NAME.sub("_", name.removesuffix(".py")).strip("_-")[:90] or "step"
    found, number = first, 1
    while found in taken:
        number += 1
        found = f"{first}-{number}"
    return found


def literal(value: object) -> str:
    """A word of a command line that is meant as it stands: what looks like a placeholder is none."""
    text = str(value)
    if not any(meant(each.space) for each in placeholders([text])):
        return text
    return _BRACES.sub(lambda found: f"{{{found[0]}}}" if meant(found[1].partition(".")[0]) else found[0], text)


def parameter_value(value: Value) -> Value:
    """A value of a parameter as it goes into the file: `True` is the text that scripts get to see."""
    return str(value) if isinstance(value, bool) else value
