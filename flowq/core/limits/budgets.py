"""Budgets: in USD, in tokens, or both, and what happens when one is spent. Pure.

A budget is checked before each call of a model: the call is made while less than the budget is
spent. Calls that run at once reserve what they may cost, see `reservations`.
"""

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId
from flowq.core.text.amounts import money
from flowq.core.usage import Usage

#: Columns have nine digits before the point and nine after it.
_MAX_USD: Final = Decimal(10**9 - 1)
_MAX_TOKENS: Final = 2**31 - 1
_OF_RUN: Final = "run:"
#: The share of a budget at which a warning is given, unless another one is set.
DEFAULT_WARN_AT: Final = 0.8


class BudgetAction(StrEnum):
    """What happens to a run whose budget is spent."""

    FAIL = "fail"  #: The step that wants to call a model fails, as by any error.
    PAUSE = "pause"  #: The run is paused until its budget is raised.


class BudgetSpec(BaseModel):
    """A budget in specs and rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd: Decimal | None = None
    tokens: int | None = None
    action: BudgetAction = BudgetAction.FAIL
    warn_at: float | None = None

    def share_of(self, usage: Usage) -> float:
        """Return the share of it that is spent: of USD or of tokens, whichever is larger."""
        shares = [0.0]
        if self.usd is not None:
            shares.append(float(usage.cost / self.usd))
        if self.tokens is not None:
            shares.append(usage.tokens / self.tokens)
        return max(shares)

    def spent_by(self, usage: Usage) -> str | None:
        """Return which part of it is spent, if any is."""
        if self.usd is not None and usage.cost >= self.usd:
            return self._in_usd(usage)
        if self.tokens is not None and usage.tokens >= self.tokens:
            return self._in_tokens(usage)
        return None

    def compared_to(self, usage: Usage) -> str:
        """Return what is spent of each of its parts, for people."""
        usd = [] if self.usd is None else [self._in_usd(usage)]
        return ", ".join([*usd, *([] if self.tokens is None else [self._in_tokens(usage)])])

    def _in_usd(self, usage: Usage) -> str:
        return f"{money(usage.cost)} of {money(self.usd or Decimal(0))}"

    def _in_tokens(self, usage: Usage) -> str:
        return f"{usage.tokens:,} of {self.tokens or 0:,} tokens"


@dataclass(frozen=True, slots=True)
class Budget:
    """How much calls of models may cost.

    Attributes:
        usd: US dollars, as a number, a text or a Decimal.
        tokens: Tokens, input and output.
        on_exceeded: What happens when it is spent: `fail` fails the step that wants to call a model
            next, `pause` pauses its run.
        warn_at: The share of it at which a warning is given: 0.8 is 80 %. None gives none.
    """

    usd: Decimal | int | float | str | None = None
    tokens: int | None = None
    on_exceeded: Literal["fail", "pause"] = "fail"
    warn_at: float | None = DEFAULT_WARN_AT

    @property
    def spec(self) -> BudgetSpec:
        """The checked budget.

        Raises:
            InvalidInput: it is empty, or not greater than zero; or `warn_at` is not a share.
        """
        usd, tokens = dollars(self.usd), whole_tokens(self.tokens)
        if usd is None and tokens is None:
            raise InvalidInput(
                "a budget has neither usd nor tokens", hint="e.g. Budget(usd=5, tokens=1_000_000)"
            )
        if self.on_exceeded not in set(BudgetAction):
            raise InvalidInput(
                f"on_exceeded of a budget is {self.on_exceeded!r}",
                hint=f"one of: {', '.join(BudgetAction)}",
            )
        action, warn_at = BudgetAction(self.on_exceeded), warning_share(self.warn_at)
        return BudgetSpec(usd=usd, tokens=tokens, action=action, warn_at=warn_at)


def budget_of(value: Any) -> BudgetSpec | None:
    """Return the checked budget of an option.

    Raises:
        InvalidInput: it is no budget.
    """
    if value is None or isinstance(value, BudgetSpec):
        return value
    if not isinstance(value, Budget):
        raise InvalidInput(
            f"budget is {value!r} ({type(value).__name__}), not a Budget",
            hint="give Budget(usd=5) or Budget(tokens=1_000_000)",
        )
    return value.spec


def run_meter(run_id: UUID) -> str:
    """Return the name of a run's meter."""
    return f"{_OF_RUN}{run_id}"


def run_of_meter(meter: str) -> RunId | None:
    """Return the run of a meter; None if it is a flow's or a user's."""
    if not meter.startswith(_OF_RUN):
        return None
    return RunId(UUID(meter.removeprefix(_OF_RUN)))


def dollars(value: Any) -> Decimal | None:
    """Return a positive amount of USD; raises `InvalidInput`."""
    if value is None:
        return None
    try:
        # A float as it is written; True is no amount.
        amount = Decimal(str(value) if isinstance(value, float | bool) else value)
    except (InvalidOperation, TypeError, ValueError):
        amount = Decimal("NaN")
    if amount.is_nan():
        raise InvalidInput(
            f"the budget {str(value)[:40]!r} is not a number of US dollars",
            hint="give a number with a decimal point and without other signs, such as 5 or 2.50",
        )
    if not 0 < amount <= _MAX_USD:
        raise InvalidInput(
            f"a budget of {str(amount)[:40]} USD",
            hint=f"give an amount that is more than 0 and at most {_MAX_USD:,}",
        )
    return amount.quantize(Decimal("1e-9")).normalize() or Decimal("1e-9")


def whole_tokens(value: Any) -> int | None:
    """Return a positive number of tokens; raises `InvalidInput`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MAX_TOKENS:
        raise InvalidInput(
            f"a budget of {value!r} tokens",
            hint=f"give a whole number from 1 to {_MAX_TOKENS:,}, e.g. tokens=1_000_000",
        )
    return value


def warning_text(budget: str, warn_at: float, share: float) -> str:
    """Return the text of a budget's warning.

    Args:
        budget: Names it, e.g. `budget of this run`.
        warn_at: The share at which it warns: 0.8 is 80 %.
        share: The share that is spent.
    """
    return f"{100 * warn_at:g} % of the {budget} is reached; {100 * share:.0f} % is spent"


def warning_share(value: Any) -> float | None:
    """Return a share between 0 and 1, or None; raises `InvalidInput`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
        raise InvalidInput(
            f"warn_at of a budget is {value!r}",
            hint="give a share between 0 and 1, e.g. warn_at=0.8, or None for no warning",
        )
    return float(value)


def plain(amount: Decimal) -> str:
    """Return an amount without an exponent."""
    return f"{amount.normalize():f}"
