"""Who calls: the attempt that runs here, or code outside any run.

Code outside a run is recorded too, in rows without a run, if there is a database that can take
them. If there is none it runs all the same, and says once that nobody counts what it spends.
"""

import asyncio
import logging
from functools import cache

import uuid_utils.compat as uuids

from flowq.core.errors import Unavailable
from flowq.core.ids import FIRST_ID, RunId
from flowq.engine.context import StepContext, current_or_none
from flowq.engine.model_calls import ModelCalls
from flowq.engine.requests import Caller
from flowq.llm import world

logger = logging.getLogger(__name__)


async def calls_here(step_name: str) -> tuple[StepContext | None, ModelCalls]:
    """Return the attempt that runs here, if one does, and what records its calls of models."""
    context = current_or_none()
    if context is not None and context.model_calls is not None:
        return context, context.model_calls
    recording = await asyncio.to_thread(_has_records)
    engine = world.engine()
    log = engine.requests if recording else None
    caller = Caller(step_name=step_name)
    return None, ModelCalls(
        log, uuids.uuid7, caller, engine.model_guards, lambda: engine.results.objects
    )


@cache
def _has_records() -> bool:
    try:
        world.engine().records.single(lambda tx: tx.llm_requests.of_run(RunId(FIRST_ID)))
    except Unavailable as error:
        logger.warning("calls of models outside runs are not recorded: %s", error)
        return False
    return True
