"""The next move after an installer's words, as real installers have said them."""

from __future__ import annotations

import pytest

from mlmake.environments.trouble import move

VENV = "install the venv module of that Python (gpubox; python3-venv on Debian), or uv"
INDEX = "let gpubox reach an index"
ROOM = "make room on gpubox"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("The virtual environment was not created successfully because ensurepip is not\navailable.", VENV),
        ("Error: Command '['/e/bin/python3.11', '-m', 'ensurepip']' returned non-zero exit status 1.", VENV),
        ("/usr/bin/python3: No module named venv", VENV),
        ("/e/bin/python: No module named pip", VENV),
        ("NewConnectionError(...): Failed to establish a new connection: [Errno 111] Connection refused", INDEX),
        ("[Errno -3] Temporary failure in name resolution", INDEX),
        ("error: Failed to fetch: `http://127.0.0.1:9/simple/tiny/`\n  cause: tcp connect error", INDEX),
        ("  cause: dns error\n  cause: failed to lookup address information: Name or service not known", INDEX),
        ("ConnectTimeoutError(..., 'Connection to 10.0.0.1 timed out. (connect timeout=15)')", INDEX),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", ROOM),
    ],
)
def test_words_that_tell_what_is_missing(words: str, told: str) -> None:
    assert move(words, "gpubox").startswith(told)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "ERROR: No matching distribution found for nosuch==1.0",
        "ModuleNotFoundError: No module named 'pipeline'",
    ],
)
def test_words_that_speak_for_themselves(words: str) -> None:
    assert move(words, "gpubox") == ""
