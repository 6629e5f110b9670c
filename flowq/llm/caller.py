"""Finds who calls a model: the running attempt, or code outside any run.

Calls outside a run are recorded too, in rows without a run, if there is a database. Without one
they are made all the same, and one warning says that their cost is not recorded.
"""

import asyncio
import logging
from functools import cache
from typing import TYPE_CHECKING

import uuid_utils.compat as uuids

from flowq.core.errors import Unavailable
from flowq.core.ids import FIRST_ID, RunId
from flowq.engine.model.model_calls import Caller
from flowq.engine.runtime.context import StepContext, current_or_none
from flowq.engine.runtime.model_calls import ModelCalls
from flowq.settings import Settings

if TYPE_CHECKING:
    from flowq.engine.engine import Engine

logger = logging.getLogger(__name__)


async def current_caller(step_name: str) -> tuple[StepContext | None, ModelCalls]:
    """Return the attempt that is running here, if any, and the recorder of its model calls."""
    context = current_or_none()
    if context is not None and context.model_calls is not None:
        return context, context.model_calls
    recording = await asyncio.to_thread(_has_records)
    engine = current_engine()
    log = engine.requests if recording else None
    caller = Caller(step_name=step_name)
    return None, ModelCalls(
        log, uuids.uuid7, caller, engine.model_guards, lambda: engine.results.objects
    )


def current_settings() -> Settings:
    """Return the settings of this process."""
    from flowq import bootstrap  # noqa: PLC0415 - a module of steps must not load Celery

    return bootstrap.settings()


def current_engine() -> "Engine":
    """Return the engine of this process."""
    from flowq import bootstrap  # noqa: PLC0415 - a module of steps must not load Celery

    return bootstrap.engine()


@cache
def _has_records() -> bool:
    try:
        current_engine().records.autocommit(lambda tx: tx.llm_requests.of_run(RunId(FIRST_ID)))
    except Unavailable as error:
        logger.warning("calls of models outside runs are not recorded: %s", error)
        return False
    return True
