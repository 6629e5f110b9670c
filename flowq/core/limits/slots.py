"""Limits: attempts that run at once, or starts or tokens within a time. Pure.

The first two have *slots*. A slot of a concurrency limit is held while code runs, and then passed
to the next. A slot of a rate is used by a start and then blocked for the rate's period: since a
rate of 60 a minute has 60 slots, there are at most 60 starts in any window of a minute.

A rate of tokens has no slots: see `token_rates`. Its number of tokens is in the field `slots`.

A key says what is limited together; it may contain parameters of the step: `customer {customer}`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from string import Formatter
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

MAX_SLOTS: Final = 100_000
MAX_TOKENS: Final = 2**31 - 1
MAX_PERIOD: Final = timedelta(days=31)
_MAX_KEY_LENGTH: Final = 180
_RATE: Final = re.compile(r"\s*(\d[\d_]*)(\s*tokens?)?\s*(?:/|per)\s*(\w+)\s*")
_TOKENS: Final = "tokens"
_UNITS: Final[Mapping[str, timedelta]] = {
    name: time
    for names, time in (
        (("s", "sec", "second"), timedelta(seconds=1)),
        (("m", "min", "minute"), timedelta(minutes=1)),
        (("h", "hour"), timedelta(hours=1)),
        (("d", "day"), timedelta(days=1)),
    )
    for name in names
}


class LimitSpec(BaseModel):
    """A limit in the spec of a step."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str  #: With the names of parameters in braces.
    slots: int = Field(ge=1, le=MAX_TOKENS)
    per: timedelta | None = None  #: The period of a rate; None: a concurrency limit.
    tokens: bool = False  #: Of a rate: it counts tokens of models, not starts.


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit with the arguments of one attempt."""

    key: str  #: Unique among all limits, of 200 characters at most.
    slots: int
    per: timedelta | None

    @property
    def counts_tokens(self) -> bool:
        """Whether it is a rate of tokens."""
        return self.key.startswith(_TOKENS)


def limit_of(spec: LimitSpec, arguments: Mapping[str, Any]) -> Limit:
    """Return the limit for an attempt with these arguments."""
    kind = "at-once" if spec.per is None else "rate"
    if spec.tokens and spec.per is not None:
        # A key may have one rate per minute and one per day: usage counts for both.
        kind = f"{_TOKENS}/{spec.per.total_seconds():g}"
    text = spec.key.format_map(arguments)
    if len(text) > _MAX_KEY_LENGTH or "\0" in text or not text.isprintable():
        text = "sha256:" + sha256(text.encode(errors="surrogatepass")).hexdigest()
    return Limit(f"{kind}:{text}", spec.slots, spec.per)


def names_in(key: str) -> set[str]:
    """Return the parameters in a key.

    Raises:
        ValueError: its braces are not balanced, or are empty.
    """
    fields = [field for _, field, _, _ in Formatter().parse(key) if field is not None]
    names = {re.split(r"[.\[]", field)[0] for field in fields}
    if not all(name.isidentifier() for name in names):
        raise ValueError("its braces must contain names of parameters")
    return names


def parse_rate(text: str) -> tuple[int, timedelta, bool]:
    """Read `60/minute`, `10 per second`, `1000/h`, `90000 tokens/minute`.

    Returns:
        The number, the period, and whether it counts tokens.

    Raises:
        ValueError: it has another form.
    """
    found = _RATE.fullmatch(text)
    unit = found[3].lower() if found else ""
    time = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
    if found is None or time is None:
        raise ValueError(f"{text!r} is not a rate like '60/minute' or '90000 tokens/minute'")
    return int(found[1]), time, found[2] is not None
