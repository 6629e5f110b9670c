"""Converts errors of providers and pydantic-ai to errors of flowq: retried or final, billed or not.

    429, 408, 409, 5xx, no connection, a cut or broken answer       ModelUnavailable, retried
    any other status, an unknown model, a key that is refused       ModelRefused, final

A provider that answers with an error bills nothing. If the answer was cut, or never came, that is
unknown.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from flowq.core.errors import FlowqError, ModelRefused, ModelUnavailable
from flowq.core.usage import CostStatus

_TRANSIENT: Final = frozenset({408, 409, 425, 429})
_SHOWN: Final = 500


def failure(error: Exception, provider: str, model: str) -> tuple[FlowqError, CostStatus]:
    """Return the error of flowq for a failed call, and whether the call was billed."""
    from pydantic_ai.exceptions import (  # noqa: PLC0415 - see the package
        ModelAPIError,
        ModelHTTPError,
        UnexpectedModelBehavior,
        UserError,
    )

    name = f"{provider}:{model}"
    if isinstance(error, FlowqError):
        return error, CostStatus.UNKNOWN
    if isinstance(error, ModelHTTPError):
        return _of_status(error, name), CostStatus.UNBILLED
    if isinstance(error, UserError):
        return ModelRefused(f"{name} cannot be called like this: {error}"), CostStatus.UNBILLED
    if isinstance(error, ModelAPIError):
        return ModelUnavailable(f"{name} does not answer: {_short(error)}"), CostStatus.UNKNOWN
    if isinstance(error, UnexpectedModelBehavior):
        text = f"{name} sent an invalid answer: {_short(error)}"
        return ModelUnavailable(text), CostStatus.UNKNOWN
    # Of the HTTP client, or of the JSON in a body that was cut.
    kind = type(error).__name__
    return ModelUnavailable(
        f"the answer of {name} was cut off: {kind}: {_short(error)}"
    ), CostStatus.UNKNOWN


def is_foreign(error: Exception) -> bool:
    """Return whether an error comes from the call, and not from flowq's or the user's code."""
    root = type(error).__module__.partition(".")[0]
    return root in {
        "pydantic_ai",
        "openai",
        "httpx2",
        "httpcore2",
        "httpx",
        "anyio",
        "anthropic",
    } or (isinstance(error, OSError | ValueError | EOFError))


def _of_status(error: Any, name: str) -> FlowqError:
    status = error.status_code
    text = f"{name} answered with status {status}: {_short(error)}"
    if status in _TRANSIENT or status >= 500:
        return ModelUnavailable(text, retry_after=retry_after(error.headers))
    hint = None
    if status in {401, 403}:
        provider = name.partition(":")[0].partition("-")[0]
        hint = f"check the key of the provider {provider!r} where the workers run"
    elif status == 404:
        hint = "check the model's name"
    return ModelRefused(text, hint=hint)


def retry_after(
    headers: "dict[str, str] | None", *, now: datetime | None = None
) -> timedelta | None:
    """Return how long a provider asks to wait; it says milliseconds, seconds or a date."""
    if not headers:
        return None
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        if not text:
            continue
        try:
            return max(timedelta(0), timedelta(seconds=float(text) * unit))
        except (ValueError, OverflowError):
            pass
        try:
            until = parsedate_to_datetime(text)
        except (ValueError, TypeError):
            continue
        aware = until if until.tzinfo else until.replace(tzinfo=UTC)
        sent = now or _date(headers)
        return max(timedelta(0), aware - sent) if sent else None
    return None


def _date(headers: dict[str, str]) -> datetime | None:
    """Return the time of the server's own clock; its dates are relative to that."""
    try:
        return parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError, TypeError):
        return None


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
