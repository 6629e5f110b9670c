"""URLs of object stores: what they may say, checked without opening anything.

The limits of time stand here as well: a store that does not answer must become an error within some
seconds, because a step waits for it; obstore's own defaults retry for three minutes.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

from flowq.core.errors import StoreUnavailable
from flowq.core.text.masking import masked

_CLOUDS: Final = frozenset({"s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"})
#: `abfs://container@account.dfs.core.windows.net/…`
_CONTAINER_FIRST: Final = frozenset({"abfs", "abfss", "adl", "az", "azure"})
_QUERY: Final = frozenset({"endpoint", "region"})
_FORMS: Final = (
    "file:///folder, memory://, s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
)


@dataclass(frozen=True, slots=True)
class StoreUrl:
    """A parsed URL.

    Attributes:
        scheme: `file`, `memory`, or a cloud's.
        location: The URL without its query.
        config: obstore's configuration of that vendor.
        allow_http: Whether it may be spoken to without TLS.
    """

    scheme: str
    location: str
    config: Mapping[str, str]
    allow_http: bool = False

    def __str__(self) -> str:
        return masked(self.location)

    @property
    def folder(self) -> Path:
        """The folder of a `file` URL."""
        return Path(unquote(urlsplit(self.location).path))

    def client_options(self) -> dict[str, Any]:
        """Return obstore's options of the HTTP client."""
        options: dict[str, Any] = {
            "connect_timeout": "3s",
            "read_timeout": "10s",
            "timeout": "5min",
        }
        return {**options, "allow_http": True} if self.allow_http else options

    def retry_config(self) -> dict[str, Any]:
        """Return obstore's options of retries: for a blip, not for an outage."""
        return {
            "max_retries": 2,
            "retry_timeout": timedelta(seconds=10),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=1),
                "base": 2,
            },
        }


def parse(url: str, config: Mapping[str, str]) -> StoreUrl:
    """Return the parts of a URL of a store.

    Raises:
        StoreUnavailable: it is not understood; says what is.
    """
    url = url.strip()
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is none
    except ValueError:
        raise _not_understood(
            url, "it has a wrong host, or a part that is not percent-encoded"
        ) from None
    if parts.scheme == "memory":
        return StoreUrl("memory", "memory://", {})
    if parts.scheme == "file":
        if parts.netloc not in {"", "localhost"} or parts.path in {"", "/"}:
            raise _not_understood(url, "a file URL needs the absolute path of a folder")
        return StoreUrl("file", f"file://{parts.path}", {})
    if parts.scheme not in _CLOUDS:
        raise _not_understood(url, "unknown kind of store")
    if not parts.netloc:
        raise _not_understood(url, "the bucket is missing")
    if "@" in parts.netloc and (":" in parts.netloc or parts.scheme not in _CONTAINER_FIRST):
        raise StoreUnavailable(
            f"FLOWQ_RESULTS_URL {masked(url)} contains a user or key, which flowq does not read "
            "there",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or what your vendor reads",
        )
    query = dict(parse_qsl(parts.query))
    unknown = sorted(query.keys() - _QUERY)
    if unknown:
        named = repr(unknown[0]) if unknown[0].isidentifier() else "something"
        raise _not_understood(
            url, f"{named} is not a parameter; the parameters are endpoint and region"
        )
    merged = {**query, **config}
    endpoint = merged.get("endpoint") or _endpoint_from_environment(parts.scheme)
    location = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
    return StoreUrl(parts.scheme, location, merged, endpoint.startswith("http://"))


def _endpoint_from_environment(scheme: str) -> str:
    if not scheme.startswith("s3"):
        return ""
    return os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT", "")


def _not_understood(url: str, why: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"FLOWQ_RESULTS_URL {masked(url)!r} cannot be used: {why}", hint=f"use {_FORMS}"
    )
