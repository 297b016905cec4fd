"""What to do about the words of an installer that has failed, where they say it. Pure."""

from __future__ import annotations

import re

_MOVES = (
    (
        r"ensurepip|no module named '?(venv|pip)\b",
        "install the venv module of that Python ({host}; python3-venv on Debian), or uv",
    ),
    (
        r"name resolution|name or service not known|no address associated|failed to lookup address|dns error"
        r"|failed to establish a new connection|tcp connect error|network is unreachable|connection refused"
        r"|connect(ion)?( to \S+)? timed out|connecttimeout",
        "let {host} reach an index, or name its own (--index-url); wheels in the project need none"
        " (packages = ['--no-index', '--find-links wheels', …])",
    ),
    (r"no space left on device|disk quota exceeded", "make room on {host}"),
)


def move(words: str, host: str) -> str:
    """The next move after these words, said on a host; "" where they speak for themselves."""
    said = words.lower()
    return next((told.format(host=host) for pattern, told in _MOVES if re.search(pattern, said)), "")
