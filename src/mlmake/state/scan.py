"""Which modules a Python source imports, found without running it."""

from __future__ import annotations

import ast
import re
import threading
import warnings
from collections.abc import Iterable, Iterator

_IMPORT = re.compile(r"(?:^|[:;])[ \t]*((?:import|from)\b[^\n(;]*(?:\([^()]*\))?)", re.MULTILINE)
_INVISIBLE = re.compile(r"#[^\n]*|\\\r?\n")
_PARSING = threading.Lock()  # warnings.catch_warnings changes the whole process


def scan(source: bytes) -> tuple[str, ...]:
    """What a Python source imports, wherever the statement stands, as sorted texts that a database can keep.

    `import a.b` is 'a.b', `from a.b import c` is 'a.b:c', `from a import *` is 'a:*', `from ..a import b` is
    '..a:b'. What the source offers to a star import is there too: '*:x' for each x that `__all__` lists,
    '*:*' where only running it could tell. Of source that does not parse, the lines that are imports count.
    """
    statements = list(_statements(source))
    found = {text for statement in statements for text in _imported(statement)}
    return tuple(sorted(found.union(_offered(source, statements))))


def _statements(source: bytes) -> Iterator[ast.stmt]:
    # Every branch counts, `if TYPE_CHECKING:` too: whether it runs is for the step's Python to say.
    waiting = _parse(source)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.stmt):
            yield node
        for field in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting.extend(getattr(node, field, ()))


def _parse(source: bytes) -> list[ast.AST]:
    try:
        # An odd escape in someone's string is not ours to warn of, and no error either.
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return [*ast.parse(source).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return _salvage(source.decode("utf-8", "replace"))


def _salvage(text: str) -> list[ast.AST]:
    # The step's Python may be newer than ours and run what we cannot parse; imports look the same in each.
    found: list[ast.AST] = []
    for match in _IMPORT.finditer(_INVISIBLE.sub(" ", text)):
        try:
            found.extend(ast.parse(match[1].strip()).body)
        except (SyntaxError, ValueError):
            continue  # prose, or a broken file: the step itself will tell
    return found


def _imported(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
    elif isinstance(statement, ast.ImportFrom):
        base = "." * statement.level + (statement.module or "")
        yield from (f"{base}:{alias.name}" for alias in statement.names)


def _offered(source: bytes, statements: Iterable[ast.stmt]) -> Iterator[str]:
    mentions = source.count(b"__all__")
    literals = [names for s in statements if (names := _literal_all(s)) is not None] if mentions else []
    yield from (f"*:{name}" for names in literals for name in names)
    if mentions > len(literals):
        yield "*:*"


def _literal_all(statement: ast.stmt) -> list[str] | None:
    match statement:
        case (
            ast.Assign(targets=[ast.Name("__all__")], value=ast.List(items) | ast.Tuple(items))
            | ast.AnnAssign(target=ast.Name("__all__"), value=ast.List(items) | ast.Tuple(items))
            | ast.AugAssign(target=ast.Name("__all__"), value=ast.List(items) | ast.Tuple(items))
        ):
            texts = [n.value for n in items if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            return texts if len(texts) == len(items) else None
    return None
