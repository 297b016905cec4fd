"""How a store speaks of itself: it names the datastore and the key, and never a secret."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import quote, quote_plus

from mlmake.errors import StoreError

ErrorT = TypeVar("ErrorT", bound=StoreError)
HIDDEN = "***"
_EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gcs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "abfs"),
    **dict.fromkeys(("http", "https"), "http"),
    **dict.fromkeys(("sftp", "ssh"), "sftp"),
}
"""By the scheme of a URL, the extra that brings its driver."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Voice:
    """What the messages of one datastore are made of.

    Attributes:
        name: the datastore's.
        url: as declared: a `${env:NAME}` in it stays as it is.
        secrets: the values that came from the environment; no message holds one of them.
    """

    name: str
    url: str
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def clean(self, text: str) -> str:
        """The text without secrets, also in the form that they have in a URL."""
        for secret in sorted(filter(None, self.secrets), key=len, reverse=True):
            for form in (secret, quote(secret, safe=""), quote_plus(secret)):
                text = text.replace(form, HIDDEN)
        return text

    def error(self, kind: type[ErrorT], key: str, what: str, hint: str = "") -> ErrorT:
        """An error about one key ("" for the whole datastore)."""
        place = f"{self.url.rstrip('/')}/{key}" if key else self.url
        return kind(f"datastore {self.name}: {place}: {self.clean(what)}", hint=self.clean(hint))

    def no_driver(self, scheme: str, error: ImportError) -> StoreError:
        """The library behind a scheme is not installed."""
        extra = _EXTRAS.get(scheme)
        hint = f"pip install 'mlmake[{extra}]'" if extra else "install it"
        return self.error(StoreError, "", f"the driver of {scheme}:// is not installed ({error})", hint)

    def unavailable_hint(self) -> str:
        return "run the same command again; what has arrived is kept"

    def rights_hint(self) -> str:
        return f"check the options of datastore {self.name} and what its account may do"
