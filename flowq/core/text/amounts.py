"""Amounts of money as text: the same on pages, on terminals, in errors and in logs."""

from decimal import Decimal
from typing import Final

#: Less than this is shown as that.
_MIN_SHOWN: Final = Decimal("0.0001")


def money(cost: Decimal) -> str:
    """Return dollars, with more digits for small sums."""
    if not cost:
        return "$0"
    if cost < _MIN_SHOWN:
        return f"<${_MIN_SHOWN}"
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"
