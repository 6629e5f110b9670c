"""Prices of models, as a setting says them."""

from decimal import Decimal

from pydantic import BaseModel, ConfigDict, Field

from flowq.core.usage import Reported

_MILLION = Decimal(1_000_000)
#: USD. More is a mistake in a price, and sums of it would not fit into a column.
_MOST = Decimal(10_000_000)


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
        return min(spent / _MILLION + self.call, _MOST)
