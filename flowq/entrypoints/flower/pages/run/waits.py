"""What a run waits for, on its pages: the words of `engine.waits.reasons`, for run and steps.

Workers are asked only when a step was queued for a while; their answers are cached for some
seconds. A page is shown without reasons if they cannot be found.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from flowq.core.errors import FlowqError
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Engine
from flowq.engine.model.rows import StepView
from flowq.engine.queries.run_page import RunPage
from flowq.engine.waits.explain import Workers, why_waits
from flowq.engine.waits.reasons import Reason, Waiting

logger = logging.getLogger(__name__)

#: A step that is queued for less time is not explained.
_FRESH: Final = timedelta(seconds=3)
#: Reasons that the page shows in other places.
_SHOWN_APART: Final = frozenset({Reason.PAUSED, Reason.BUDGET, Reason.SIGNAL})


def waits_of(engine: Engine, page: RunPage) -> list[Waiting]:
    """Return what a run waits for."""
    if page.run.status in TERMINAL_RUN_STATES:
        return []
    try:
        return why_waits(engine, page.run.id, Workers(engine, fresh=_FRESH))
    except (FlowqError, ValueError) as error:  # the second from a spec that cannot be read
        logger.warning("cannot find out what run %s waits for: %s", page.run.id, error)
        return []


def in_head(waits: Sequence[Waiting]) -> list[Waiting]:
    """Return the reasons that are shown above the tabs."""
    return [one for one in waits if one.reason not in _SHOWN_APART]


def by_step(waits: Sequence[Waiting], steps: Sequence[StepView]) -> Mapping[str, Waiting]:
    """Return the reason of each step that has one, by its key."""
    own = {_place(one.step): one for one in waits if one.run_id is None and one.step}
    found: dict[str, Waiting] = {}
    for step in steps:
        one = own.get(_place(step.key))
        if one is not None and step.counts.get(one.state or step.status):
            found[step.key] = one
    return found


def _place(label: str) -> str:
    """Return the key of a step without the index of an item or the number of a call."""
    return label.partition("[")[0].partition("#")[0]
