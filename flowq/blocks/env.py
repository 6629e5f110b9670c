"""`Env` and `EnvManager`: documents for who embeds flowq, in async code. Faces without a state.

    manager = EnvManager()
    task_id = await manager.submit_workflow(document, {"user_id": "ann"})
    async for frame in manager.get_results_stream(task_id, {"user_id": "ann"}): …

`EnvManager` starts tasks on workers, and two managers in two processes know the same tasks. `Env`
runs a document in threads of this process, recorded as any other run.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Final

from flowq import bootstrap
from flowq.blocks import names
from flowq.blocks.reports.frames import Frame
from flowq.blocks.reports.outline import Edge
from flowq.blocks.storage.external import BlockStorage
from flowq.blocks.submitting import submit
from flowq.blocks.tasks import Task
from flowq.client.events import RunEvents
from flowq.core.errors import InvalidInput
from flowq.core.events import StepCompleted, StepFailed
from flowq.core.ids import FIRST_ID, RunId
from flowq.engine.engine import Engine
from flowq.engine.events.follow import follow
from flowq.engine.sweeper.retention import delete_run

logger = logging.getLogger(__name__)

#: Who asks: `user_id` says it, a text or a number; other keys are ignored. None is the operator,
#: who may see all tasks.
UserInfo = Mapping[str, Any]
#: Gets what one edge has used: `task_id`, `edge_id`, `edge_type`, `execution_time` in seconds,
#: `execution_success`, `error_info`.
UsageCallback = Callable[[dict[str, Any]], object]
#: Runs that are looked at together.
_PAGE: Final = 200


class EnvManager:
    """Starts tasks on workers, and follows them."""

    @property
    def storage(self) -> BlockStorage:
        """Where blocks are stored and read, for `block.persist(…)` and `block.resolve(…)`."""
        return BlockStorage.of(bootstrap.engine())

    async def submit_workflow(
        self,
        document: Mapping[str, Any],
        user_info: UserInfo | None = None,
        edge_usage_callback: UsageCallback | None = None,
    ) -> str:
        """Start a task and return its id.

        Args:
            document: Blocks and edges.
            user_info: Whose task it is.
            edge_usage_callback: Called once for each edge that is finished, in a thread of this
                process, while the process lasts. What it raises is logged.

        Raises:
            DocumentInvalid: the document cannot run; nothing was recorded. Likewise the others of
                `flowq.blocks.submit`.
            InvalidInput: `user_info` says no user; so do the other methods.
        """
        run = await asyncio.to_thread(submit, document, user_id=_user(user_info))
        if edge_usage_callback is not None:
            task = await asyncio.to_thread(_find, str(run.id), None)
            args = task, edge_usage_callback
            threading.Thread(target=_report, args=args, name="flowq-usage", daemon=True).start()
        return str(run.id)

    async def get_results_stream(
        self, task_id: str, user_info: UserInfo | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the frames of a task: data by level, then the end.

        Raises:
            TaskNotFound: there is no such task.
            TaskForbidden: it is somebody else's.
        """
        async with aclosing(_frames(task_id, user_info)) as frames:
            async for frame in frames:
                if frame.v1 is not None:
                    yield frame.v1

    async def get_raw_events_stream(
        self, task_id: str, user_info: UserInfo | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield all events of a task; raises as `get_results_stream`."""
        async with aclosing(_frames(task_id, user_info)) as frames:
            async for frame in frames:
                yield frame.v2

    async def get_task_status(
        self, task_id: str, user_info: UserInfo | None = None
    ) -> dict[str, Any]:
        """Return the status of a task; raises as `get_results_stream`."""
        return await asyncio.to_thread(lambda: _find(task_id, user_info).status())

    async def cleanup_old_tasks(self, hours: float = 24) -> int:
        """Delete tasks that finished longer ago than this; return how many.

        FLOWQ_RETENTION_DAYS does it by itself, for all runs.
        """
        return await asyncio.to_thread(_cleanup, bootstrap.engine(), timedelta(hours=hours))


class Env:
    """A document that runs in this process.

    Args:
        env_id: Names the execution: with the same id again it is followed, and not repeated.
        document: Blocks and edges.
        user_info: Whose it is.
    """

    def __init__(
        self, env_id: str, document: Mapping[str, Any], user_info: UserInfo | None = None
    ) -> None:
        self.id = env_id
        self._document = document
        self._user_id = _user(user_info)

    async def run(self) -> AsyncIterator[dict[str, Any]]:
        """Run it; yields its events until it is finished.

        Raises:
            DocumentInvalid: the document cannot run; nothing was recorded. Likewise the others of
                `flowq.blocks.submit`.
        """
        engine, _ = await asyncio.to_thread(bootstrap.engine_here)
        run = await asyncio.to_thread(
            submit,
            self._document,
            user_id=self._user_id,
            idempotency_key=self.id,
            engine=engine,
        )
        async with aclosing(_frames(str(run.id), None)) as frames:
            async for frame in frames:
                yield frame.v2


async def _frames(task_id: str, user_info: UserInfo | None) -> AsyncGenerator[Frame]:
    task = await asyncio.to_thread(_find, task_id, user_info)
    translator = task.translator()
    async for event in RunEvents(task.id, task.flow_name, None, None, wait=True):
        for frame in await asyncio.to_thread(translator.take, event):
            yield frame


def _find(task_id: str, user_info: UserInfo | None) -> Task:
    return Task.find(bootstrap.engine(), task_id, _user(user_info))


def _user(user_info: Any) -> str | None:
    """Return the user of `user_info`; None of the operator.

    Raises:
        InvalidInput: it says no user. Nobody may become the operator by a misspelt key.
    """
    if user_info is None:
        return None
    found = user_info.get("user_id") if isinstance(user_info, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, str | int) or found == "":
        raise InvalidInput(
            f"user_info is {user_info!r}, which says no user",
            hint='give {"user_id": "ann"}, or None for tasks of nobody',
        )
    return str(found)


def _report(task: Task, callback: UsageCallback) -> None:
    """Tell a callback of each edge that ends, until the task is finished."""
    try:
        for record in _usage(task):
            try:
                callback(record)
            except Exception:
                logger.warning("the callback for edge usage has failed", exc_info=True)
    except Exception:
        logger.warning("the usage of task %s is not reported any more", task.id, exc_info=True)


def _usage(task: Task) -> Iterator[dict[str, Any]]:
    """Yield what each edge has used, when it is finished."""
    edge_of = {key: edge for edge in task.outline.edges.values() for key in edge.keys}
    spent: dict[str, int] = {}
    for event in follow(task.engine, task.id):
        if not isinstance(event, StepCompleted | StepFailed) or event.step not in edge_of:
            continue
        edge = edge_of[event.step]
        spent[edge.id] = spent.get(edge.id, 0) + (event.execution_time_ms or 0)
        failed = isinstance(event, StepFailed)
        if event.index is None and (failed or event.step == edge.last):
            error = event.error_message if isinstance(event, StepFailed) else None
            yield _record(task, edge, spent[edge.id] / 1000, error, failed=failed)


def _record(
    task: Task, edge: Edge, seconds: float, error: str | None, *, failed: bool
) -> dict[str, Any]:
    return {
        "task_id": str(task.id),
        "edge_id": edge.id,
        "edge_type": edge.type,
        "execution_time": seconds,
        "execution_success": not failed,
        "error_info": error,
    }


def _cleanup(engine: Engine, age: timedelta) -> int:
    records, after, deleted = engine.records, RunId(FIRST_ID), 0
    while roots := records.autocommit(
        lambda tx: tx.sweeps.expired(age, after=after, limit=_PAGE)  # noqa: B023 - called at once
    ):
        for root in roots:
            run = records.autocommit(lambda tx: tx.runs.stand_in(root))  # noqa: B023
            if run is not None and names.is_flow(run.flow_name):
                deleted += delete_run(engine, root)
        after = roots[-1]
    return deleted
