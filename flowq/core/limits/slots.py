"""What a limit is: so many at once, or so many starts or tokens within a time. Pure.

The first two are *slots*. Of a limit on what is running a slot is held while code runs, and then
given to the next. Of a rate a slot is used for a moment and rests for the rate's time: since a rate
of 60 a minute has 60 slots, no minute, wherever it begins, sees more than 60 starts.

A rate of tokens has no slots: `token_rates` says how it is counted. Its number of tokens stands in
`slots` all the same.

A key says what is limited together; it may name parameters of the step: `customer {customer}`.
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
    """A limit as the spec of a step holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str  #: With the names of parameters in braces.
    slots: int = Field(ge=1, le=MAX_TOKENS)
    per: timedelta | None = None  #: The time of a rate; None limits what is running.
    tokens: bool = False  #: Of a rate: it counts tokens of models, not starts.


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as one attempt meets it."""

    key: str  #: Unique among all limits, of 200 characters at most.
    slots: int
    per: timedelta | None

    @property
    def counts_tokens(self) -> bool:
        """Whether it is a rate of tokens."""
        return self.key.startswith(_TOKENS)


def limit_of(spec: LimitSpec, arguments: Mapping[str, Any]) -> Limit:
    """Return the limit that an attempt with these arguments meets."""
    kind = "at-once" if spec.per is None else "rate"
    if spec.tokens and spec.per is not None:
        # A key may have one of each minute and one of each day: what is used counts for both.
        kind = f"{_TOKENS}/{spec.per.total_seconds():g}"
    text = spec.key.format_map(arguments)
    if len(text) > _MAX_KEY_LENGTH or "\0" in text or not text.isprintable():
        text = "sha256:" + sha256(text.encode(errors="surrogatepass")).hexdigest()
    return Limit(f"{kind}:{text}", spec.slots, spec.per)


def names_in(key: str) -> set[str]:
    """Return the parameters that a key names.

    Raises:
        ValueError: its braces do not fit together, or are empty.
    """
    fields = [field for _, field, _, _ in Formatter().parse(key) if field is not None]
    names = {re.split(r"[.\[]", field)[0] for field in fields}
    if not all(name.isidentifier() for name in names):
        raise ValueError("its braces must contain names of parameters")
    return names


def parse_rate(text: str) -> tuple[int, timedelta, bool]:
    """Read `60/minute`, `10 per second`, `1000/h`, `90000 tokens/minute`.

    Returns:
        How many, within which time, and whether of tokens.

    Raises:
        ValueError: it is none of these.
    """
    found = _RATE.fullmatch(text)
    unit = found[3].lower() if found else ""
    time = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s"))
    if found is None or time is None:
        raise ValueError(f"{text!r} is not a rate like '60/minute' or '90000 tokens/minute'")
    return int(found[1]), time, found[2] is not None
