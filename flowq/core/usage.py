"""What a step used: tokens and money. Summed over step rows, never counted twice."""

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and cost of one or more attempts."""

    tokens: int = 0
    cost: Decimal = Decimal(0)  #: USD.

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.tokens + other.tokens, self.cost + other.cost)
