"""fsspec's file systems, opened so that nothing is cached and nothing is tried twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fsspec.core import url_to_fs

from mlmake.errors import StoreError
from mlmake.stores.voice import Voice

WEB = {"http", "https"}
PATIENT = {"gs", "gcs", "abfs", "abfss", "az", "adl"}
"""Their drivers' own retries cannot be turned off."""
_AMAZON = {"s3", "s3a"}
_CONNECTIONS = 32
_LOGGERS = ("fsspec", "s3fs", "gcsfs", "azure", "botocore", "aiobotocore")


def opened(url: str, scheme: str, options: Mapping[str, Any], voice: Voice) -> tuple[Any, str]:
    """The file system of a URL, and the URL's path in it. Raises StoreError."""
    _keep_quiet()
    if scheme in _AMAZON:
        options = _for_amazon(options)
    try:
        fs, root = url_to_fs(url, skip_instance_cache=True, use_listings_cache=False, **options)
    except ImportError as error:
        raise voice.no_driver(scheme, error) from None
    except Exception as error:
        raise voice.error(StoreError, "", f"cannot be opened: {error}", voice.rights_hint()) from None
    if scheme in _AMAZON:
        fs.retries = 1
    return fs, str(root)


def _keep_quiet() -> None:
    """Drivers log what they raise: without a handler, Python would print that, with a traceback, to the terminal."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())


def _for_amazon(options: Mapping[str, Any]) -> dict[str, Any]:
    """Retries are ours (`patience.py`), and ten connections are few for many small files."""
    own = {"max_pool_connections": _CONNECTIONS, "retries": {"total_max_attempts": 1}}
    return {**options, "config_kwargs": {**own, **options.get("config_kwargs", {})}}
