"""The cost of a call: by FLOWQ_PRICES, or else by genai-prices, which needs no network.

A cost that is not known is None with a status, never 0. That is so for a model without a price, and
for a call whose usage is missing or impossible.

Budgets reserve what a call may cost before it is made. A call has such a bound only with a token
limit (`max_tokens`). How many tokens its input has, only the provider counts: a token is taken to
have at least three bytes, which holds for most texts in most languages.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import Any, Final

from flowq.core.usage import AppliedPrice, CostStatus, Price, Reported, Tokens, Usage
from flowq.llm.caller import current_settings

_PLACES: Final = Decimal("1e-9")
#: Columns hold nine digits before the point.
_MAX_COST: Final = Decimal(10**9)
_BYTES_OF_TOKEN: Final = 3


def cost_of(
    provider: str,
    model: str,
    used: Reported,
    usage: Any,
    *,
    prices: "dict[str, Price]",
    at: datetime | None = None,
) -> tuple[Decimal | None, CostStatus, AppliedPrice | None]:
    """Return the cost of a call in USD, what is known about it, and the price.

    Args:
        provider: Id of the provider, e.g. `openai`.
        model: Name of the model.
        used: What the call used.
        usage: The same as the library returns it, which may distinguish kinds of tokens.
        prices: FLOWQ_PRICES, by `provider:model` or by model.
        at: When the call was made; prices change.
    """
    own = prices.get(f"{provider}:{model}") or prices.get(model)
    if own is None:
        cost, price = _listed(provider, model, used, usage, at)
    else:
        cost, price = own.of(used), AppliedPrice("FLOWQ_PRICES", own.rates)
    if cost is None or price is None or not 0 <= cost < _MAX_COST:
        return None, CostStatus.UNKNOWN, None
    return cost.quantize(_PLACES), CostStatus.KNOWN, price


def _listed(
    provider: str, model: str, used: Reported, usage: Any, at: datetime | None
) -> tuple[Decimal | None, AppliedPrice | None]:
    """Return the cost by the installed list of prices, and the price."""
    if not (used.input_known and used.output_known):
        return None, None
    # Imported here since it loads thousands of prices, which an import of steps need not wait for.
    from genai_prices import calc_price  # noqa: PLC0415 - see above

    try:
        price = calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
        return Decimal(price.total_price), AppliedPrice(_list_version(), str(price.model_price))
    except Exception:  # noqa: BLE001 - the answer is there: what cannot be priced is unknown
        return None, None


@cache
def _list_version() -> str:
    return f"genai-prices {version('genai-prices')}"


def bound_of(
    model: Any, messages: Sequence[Any], settings: Mapping[str, Any] | None
) -> Usage | None:
    """Return what a call uses at most; None if it has no token limit.

    Args:
        model: A model of pydantic-ai.
        messages: Those that are sent to it.
        settings: The settings of the call, before those of the model.
    """
    most = {**(model.settings or {}), **(settings or {})}.get("max_tokens")
    if not isinstance(most, int) or most <= 0:
        return None
    from pydantic_ai.messages import ModelMessagesTypeAdapter  # noqa: PLC0415 - see the package
    from pydantic_ai.usage import RequestUsage  # noqa: PLC0415

    size = len(ModelMessagesTypeAdapter.dump_json(list(messages)))
    tokens = Tokens(size // _BYTES_OF_TOKEN + 1, most)
    usage = RequestUsage(input_tokens=tokens.input, output_tokens=tokens.output)
    prices = current_settings().prices
    cost, status, _ = cost_of(
        model.system, model.model_name, Reported(tokens), usage, prices=prices
    )
    if cost is None:
        return Usage(tokens.total, unpriced=int(status is CostStatus.UNKNOWN))
    return Usage(tokens.total, cost)
