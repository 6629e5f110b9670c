"""What the tokens of a call cost: by the setting, else by genai-prices, which asks no network.

A price that nobody knows is unknown: None and a status, never 0. So is that of a call whose server
does not say what it used, or says what cannot be.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from flowq.core.usage import CostStatus, Price, Reported

_PLACES: Final = Decimal("1e-9")
#: Columns hold nine digits before the point.
_MAX_COST: Final = Decimal(10**9)


def cost_of(
    provider: str,
    model: str,
    used: Reported,
    usage: Any,
    *,
    prices: "dict[str, Price]",
    at: datetime | None = None,
) -> tuple[Decimal | None, CostStatus]:
    """Return the cost of a call in USD and what is known about it.

    Args:
        provider: Id of the provider, e.g. `openai`.
        model: Name of the model.
        used: What the call used.
        usage: The same as the library has it, which may tell kinds of tokens apart.
        prices: Prices of the setting, by `provider:model` or by model.
        at: When the call was made; prices change.
    """
    own = prices.get(f"{provider}:{model}") or prices.get(model)
    cost = own.of(used) if own is not None else _listed(provider, model, used, usage, at)
    if cost is None or not 0 <= cost < _MAX_COST:
        return None, CostStatus.UNKNOWN
    return cost.quantize(_PLACES), CostStatus.KNOWN


def _listed(
    provider: str, model: str, used: Reported, usage: Any, at: datetime | None
) -> Decimal | None:
    """Return the cost by the list of prices that is installed."""
    if not (used.input_known and used.output_known):
        return None
    # Loads a list of some thousand prices: here, and not when a module of steps is imported.
    from genai_prices import calc_price  # noqa: PLC0415 - see above

    try:
        price = calc_price(usage, model, provider_id=provider, genai_request_timestamp=at)
        return Decimal(price.total_price)
    except Exception:  # noqa: BLE001 - the answer is there: what cannot be priced is unknown
        return None
