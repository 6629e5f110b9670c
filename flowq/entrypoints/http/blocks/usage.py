"""Checks before each task whether the user may start it.

FLOWQ_HTTP_USAGE names a function, `module:name`. It gets the user and the number of edges of the
document, and returns how many edges are allowed; None for any number. Without one the budget of the
user for this month decides, see FLOWQ_USER_MONTHLY_USD.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from typing import Final

from flowq import bootstrap
from flowq.core.errors import InvalidSetting

logger = logging.getLogger(__name__)

#: From a user and a number of edges to the allowed number.
Usage = Callable[[str, int], int | None]
_HINT: Final = "name a function as `module:name`; it gets a user and a number of edges"


class UsageInsufficient(Exception):
    """A task exceeds the quota of its user.

    Attributes:
        available: How many edges are allowed.
        required: How many edges there are.
    """

    def __init__(self, available: int, required: int) -> None:
        super().__init__(available, required)
        self.available = available
        self.required = required


class UsageUnavailable(Exception):
    """The quota of a user is unknown."""


def usage_of(setting: str | None) -> Usage:
    """Return the function that a setting names.

    Raises:
        InvalidSetting: there is no such function.
    """
    if not setting:
        return _by_budget
    module, _, name = setting.partition(":")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidSetting(f"FLOWQ_HTTP_USAGE={setting}: {error}", hint=_HINT) from error
    if not callable(found):
        raise InvalidSetting(f"FLOWQ_HTTP_USAGE={setting} is no function", hint=_HINT)
    usage: Usage = found
    return usage


def check(usage: Usage, user_id: str, edges: int) -> int:
    """Return the count of a task in edges, if it is allowed.

    Raises:
        UsageInsufficient: it is not allowed.
        UsageUnavailable: the function has failed.
    """
    required = edges or 1
    try:
        available = usage(user_id, required)
    except Exception as error:
        logger.exception("FLOWQ_HTTP_USAGE has failed")
        raise UsageUnavailable from error
    if available is not None and available < required:
        raise UsageInsufficient(available, required)
    return required


def _by_budget(user_id: str, _: int) -> int | None:
    """Return 0 when the user has spent the budget of this month."""
    engine = bootstrap.engine()
    budget = engine.policies.user_budget
    if budget is None:
        return None
    meter = f"user:{user_id}"
    spent = engine.records.autocommit(lambda tx: tx.meters.spent([meter]))
    return None if budget.spent_by(spent[meter]) is None else 0
