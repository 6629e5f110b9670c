"""How a row-wise step is distributed: `execution_strategy`, as data or as text.

{"workers": 4}, "distribute across 4 workers"   four contiguous parts, a task for each
"single_container"                              one task
"distributed"                                   a task for each row; so is no strategy at all
"iterative"                                     a task for each row, one after the other
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

MAX_WORKERS: Final = 10_000
_WORKERS: Final = re.compile(r"(-?\d+)\s*[- ]?workers?\b", re.IGNORECASE)
_NAMES: Final = ("single_container", "distributed", "iterative")
_KNOWN: Final = (
    'give {"workers": 4}, "distribute across 4 workers", "distributed", "iterative" or '
    '"single_container"'
)


@dataclass(frozen=True, slots=True)
class Strategy:
    """A strategy.

    Attributes:
        parts: How many tasks; None: one for each row.
        one_at_a_time: Whether these run one after the other.
    """

    parts: int | None = None
    one_at_a_time: bool = False

    @property
    def splits(self) -> bool:
        """Whether there may be more than one task."""
        return self.parts != 1


def strategy_of(value: Any) -> Strategy | None:
    """Return the strategy of a step; None when it has none.

    Raises:
        ValueError: it cannot be understood; the text says what can.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if set(value) == {"workers"}:
            return _workers(value["workers"])
        if isinstance(value.get("type"), str):
            return strategy_of(value["type"])
    if isinstance(value, str):
        counted = _WORKERS.search(value)
        if counted is not None:
            return _workers(int(counted[1]))
        name = re.sub(r"[\s-]+", "_", value.strip().lower())
        if name in _NAMES:
            return Strategy(
                parts=1 if name == "single_container" else None, one_at_a_time=name == "iterative"
            )
    raise ValueError(f"it is {value!r}; {_KNOWN}")


def _workers(count: Any) -> Strategy:
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_WORKERS:
        raise ValueError(f"workers is {count!r}; give a whole number from 1 to {MAX_WORKERS:,}")
    return Strategy(parts=count)
