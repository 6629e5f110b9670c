"""What a step used, tokens and money, and what a model costs as a setting says it.

Usage is summed over step rows, never counted twice.
"""

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

#: More tokens than any call has, and what a column holds.
_MAX_TOKENS: Final = 2**31 - 1


def in_digits(cost: Decimal) -> str:
    """Return an amount in digits, without an exponent and without zeros at its end."""
    text = f"{cost:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


#: An amount of USD; in JSON it is text, since a float would round it.
Usd: TypeAlias = Annotated[Decimal, PlainSerializer(in_digits, return_type=str, when_used="json")]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one or more attempts: of their calls of models."""

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

    input: int = 0  #: Cached ones included.
    output: int = 0
    cached: int = 0  #: Those of the input that the provider read from its cache.

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
    """What a server says that a call has used, as far as that can be so.

    A count that is missing comes as 0 through most libraries, and so do some that make no sense.
    What is unknown counts as no tokens, and nothing that depends on it has a price.

    Attributes:
        tokens: What can be believed.
        input_known: The tokens that were read are known: every call reads some.
        output_known: Those that were written are: an answer that says something has some.
    """

    tokens: Tokens
    input_known: bool = True
    output_known: bool = True


def reported(given: Any, written: Any, cached: Any, *, says_something: bool) -> Reported:
    """Judge the counts of a server.

    Args:
        given: Input, cached ones included.
        written: Output.
        cached: Those of the input that were read from a cache.
        says_something: Whether the answer holds anything that the model has written.
    """
    read, wrote, kept = _count(given), _count(written), _count(cached)
    fits = kept is not None and kept <= (read or 0)
    return Reported(
        Tokens(read or 0, wrote or 0, min(kept or 0, read or 0)),
        input_known=bool(read) and fits,
        output_known=wrote is not None and (wrote > 0 or not says_something),
    )


def _count(value: Any) -> int | None:
    """Return a number of tokens; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if 0 <= value <= _MAX_TOKENS and value == int(value) else None


class CostStatus(StrEnum):
    """What is known about the cost of a call."""

    KNOWN = "known"  #: The provider's usage times a price.
    UNBILLED = "unbilled"  #: The provider refused the call with an error, which costs nothing.
    UNKNOWN = "unknown"  #: No price for this model, or no word of what was used; never 0.


class RequestStatus(StrEnum):
    """How far a call of a model has come."""

    STARTED = "started"  #: It is about to be made, or under way.
    COMPLETED = "completed"  #: The model has answered.
    FAILED = "failed"  #: The provider refused it, or its answer never came, or not whole.
    CANCELLED = "cancelled"  #: Nobody waits for its answer any more: a timeout, or a cancel.
    LOST = "lost"  #: The worker that made it is gone; a later attempt has found it.


#: Recorded calls whose end may still be written.
OPEN_REQUESTS = (RequestStatus.STARTED, RequestStatus.LOST)


_MILLION = Decimal(1_000_000)
#: USD. More is a mistake in a price, and sums of it would not fit into a column.
_MAX_USD = Decimal(10_000_000)


class Price(BaseModel):
    """What a model costs, in USD per million tokens.

    Attributes:
        input: Tokens that it reads.
        output: Tokens that it writes.
        cached: Tokens that it reads from the provider's cache; as `input` when left out.
        call: USD for each call, an image say.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Decimal = Field(default=Decimal(0), ge=0)
    output: Decimal = Field(default=Decimal(0), ge=0)
    cached: Decimal | None = Field(default=None, ge=0)
    call: Decimal = Field(default=Decimal(0), ge=0)

    def of(self, used: Reported) -> Decimal | None:
        """Return the cost of a call; None when it depends on what is not known of it."""
        cached = self.input if self.cached is None else self.cached
        needs_input = bool(self.input or cached)
        if (needs_input and not used.input_known) or (self.output and not used.output_known):
            return None
        tokens = used.tokens
        fresh = max(tokens.input - tokens.cached, 0)
        spent = self.input * fresh + cached * tokens.cached + self.output * tokens.output
        return min(spent / _MILLION + self.call, _MAX_USD)
