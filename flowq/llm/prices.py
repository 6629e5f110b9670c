"""What the tokens of a call cost: by the setting, else by genai-prices, which asks no network.

A price that nobody knows is unknown: None and a status, never 0.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from flowq.core.prices import Price
from flowq.core.usage import CostStatus, Tokens

_PLACES = Decimal("1e-9")


def cost_of(
    provider: str,
    model: str,
    tokens: Tokens,
    usage: Any,
    *,
    prices: "dict[str, Price]",
    at: datetime | None = None,
) -> tuple[Decimal | None, CostStatus]:
    """Return the cost of a call in USD and what is known about it.

    Args:
        provider: Id of the provider, e.g. `openai`.
        model: Name of the model.
        tokens: What the call used.
        usage: The same as the library has it, which may tell kinds of tokens apart.
        prices: Prices of the setting, by `provider:model` or by model.
        at: When the call was made; prices change.
    """
    own = prices.get(f"{provider}:{model}") or prices.get(model)
    if own is not None:
        return own.of(tokens).quantize(_PLACES), CostStatus.KNOWN
    if not tokens.total:
        return None, CostStatus.UNKNOWN
    # Loads a list of some thousand prices: here, and not when a module of steps is imported.
    from genai_prices import calc_price  # noqa: PLC0415 - see above

    try:
        price = calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
    except (LookupError, ValueError):
        return None, CostStatus.UNKNOWN
    return Decimal(price.total_price).quantize(_PLACES), CostStatus.KNOWN
