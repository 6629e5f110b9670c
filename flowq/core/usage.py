"""The usage of a step, in tokens and money, and the prices of models.

Usage is summed over step rows, never counted twice.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

#: More tokens than any call has, within the limit of a column.
_MAX_TOKENS: Final = 2**31 - 1


def in_digits(cost: Decimal) -> str:
    """Return an amount in digits, without an exponent and trailing zeros."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


#: An amount of USD; text in JSON, since a float would round it.
Usd: TypeAlias = Annotated[Decimal, PlainSerializer(in_digits, return_type=str, when_used="json")]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of the model calls of one or more attempts."""

    tokens: int = 0
    cost: Decimal = Decimal(0)  #: USD, of the calls whose cost is known.
    unpriced: int = 0  #: Calls of models whose cost is not known, or not yet.

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens + other.tokens,
            self.cost + other.cost,
            self.unpriced + other.unpriced,
        )


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of one call of a model, as its provider counts them."""

    input: int = 0  #: Including cached ones.
    output: int = 0
    cached: int = 0  #: Input tokens that the provider read from its cache.

    @property
    def total(self) -> int:
        """Input and output."""
        return self.input + self.output

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(
            self.input + other.input, self.output + other.output, self.cached + other.cached
        )


@dataclass(frozen=True, slots=True)
class Reported:
    """The plausible part of the usage that a server reports for a call.

    Most libraries return 0 for a missing count, and for some invalid ones. An unknown count is 0
    tokens, and a cost that depends on it is unknown.

    Attributes:
        tokens: The plausible counts.
        input_known: The input tokens are known: every call has some.
        output_known: The output tokens are known: an answer with content has some.
    """

    tokens: Tokens
    input_known: bool = True
    output_known: bool = True


def reported(given: Any, written: Any, cached: Any, *, says_something: bool) -> Reported:
    """Check the counts of a server.

    Args:
        given: Input, including cached ones.
        written: Output.
        cached: Input tokens that were read from a cache.
        says_something: Whether the answer has content from the model.
    """
    read, wrote, kept = _count(given), _count(written), _count(cached)
    fits = kept is not None and kept <= (read or 0)
    return Reported(
        Tokens(read or 0, wrote or 0, min(kept or 0, read or 0)),
        input_known=bool(read) and fits,
        output_known=wrote is not None and (wrote > 0 or not says_something),
    )


def _count(value: Any) -> int | None:
    """Return a number of tokens; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _MAX_TOKENS and value == int(value) else None


class CostStatus(StrEnum):
    """What is known about the cost of a call."""

    KNOWN = "known"  #: The provider's usage times a price.
    UNBILLED = "unbilled"  #: The provider refused the call with an error, which costs nothing.
    UNKNOWN = "unknown"  #: No price for this model, or no usage; never 0.


@dataclass(frozen=True, slots=True)
class AppliedPrice:
    """The price that the cost of a call was computed with; kept with the call, as prices change.

    Attributes:
        source: `FLOWQ_PRICES`, or the library of prices and its version.
        rates: The price, for people.
    """

    source: str
    rates: str


class RequestStatus(StrEnum):
    """The state of a model call."""

    STARTED = "started"  #: It is about to be made, or running.
    COMPLETED = "completed"  #: The model has answered.
    FAILED = "failed"  #: The provider refused it, or no whole answer came.
    CANCELLED = "cancelled"  #: Its answer is not awaited any more: a timeout, or a cancel.
    LOST = "lost"  #: The worker that made it is gone; a later attempt found it.


#: Recorded calls whose end may still be written.
OPEN_REQUESTS = (RequestStatus.STARTED, RequestStatus.LOST)


_MILLION = Decimal(1_000_000)
#: USD. More is a mistake in a price, and its sums would not fit into a column.
_MAX_USD = Decimal(10_000_000)


class Price(BaseModel):
    """What a model costs, in USD per million tokens.

    Attributes:
        input: For input tokens.
        output: For output tokens.
        cached: For input tokens from the provider's cache; as `input` when left out.
        call: USD for each call, e.g. of an image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(default=Decimal(0), ge=0)
    output: Decimal = Field(default=Decimal(0), ge=0)
    cached: Decimal | None = Field(default=None, ge=0)
    call: Decimal = Field(default=Decimal(0), ge=0)

    @property
    def rates(self) -> str:
        """The price in words."""
        per_million = [("input", self.input), ("output", self.output), ("cached", self.cached)]
        said = [f"${in_digits(one)}/{kind} MTok" for kind, one in per_million if one is not None]
        return ", ".join([*said, f"${in_digits(self.call)}/call"] if self.call else said)

    def of(self, used: Reported) -> Decimal | None:
        """Return the cost of a call; None when it depends on an unknown count."""
        cached = self.input if self.cached is None else self.cached
        needs_input = bool(self.input or cached)
        if (needs_input and not used.input_known) or (self.output and not used.output_known):
            return None
        tokens = used.tokens
        fresh = max(tokens.input - tokens.cached, 0)
        spent = self.input * fresh + cached * tokens.cached + self.output * tokens.output
        return min(spent / _MILLION + self.call, _MAX_USD)
