"""The durable program that runs every canvas: its tasks are calls, its waits timers.

It walks the plan of a canvas and passes results on by reference, without loading them. The order of
its calls is decided by the plan and by what the calls return, as replays need it. Where Celery lets
the rest go on after a failure (the other tasks of a group, error callbacks), so does this: the run
fails when nothing is left to run.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter

from flowq.authoring import durable
from flowq.authoring.calls.durable import program_call
from flowq.authoring.calls.options import Options
from flowq.authoring.definitions.flows import flow
from flowq.canvas.outline import outline
from flowq.canvas.plan import (
    CanvasPlan,
    ChainPlan,
    ChordPlan,
    GroupPlan,
    Plan,
    TaskPlan,
    first_tasks,
)
from flowq.canvas.tasks import NEXT, VALUE, run_task
from flowq.core.errors import RetryRequested, StepFailed
from flowq.core.ids import node_id
from flowq.core.retries import RetryPolicy
from flowq.core.spec import FlowSpec
from flowq.engine.registry.registry import registry
from flowq.engine.replay import Execution, LazyResult
from flowq.engine.replay.execution import current

NAME: Final = "flowq.canvas"
#: The task decides when and how often; what it raises otherwise is final.
_RETRIES: Final = RetryPolicy(max_attempts=100_000, retry_on=(RetryRequested.__name__,))
_PLANS: Final[TypeAdapter[Plan]] = TypeAdapter(Plan)


@flow(name=NAME)
async def canvas(canvas: dict[str, Any]) -> Any:
    """Run a canvas.

    Args:
        canvas: Its plan, as JSON.

    Returns:
        Its result, as JSON that Celery writes.

    Raises:
        StepFailed: a task has failed for good.
    """
    program = current()
    assert program is not None
    walk = _Walk(program)
    try:
        value = await walk.run(CanvasPlan.model_validate(canvas).root, ())
    except StepFailed:
        await walk.finish()
        raise
    await walk.finish()
    return _loaded(value)


def _spec(inputs: Mapping[str, Any]) -> FlowSpec:
    """Return the spec of a run, which is named after the canvas.

    Other tasks go on after a failure, and none makes up for it: a rerun runs all that have failed.
    """
    named = {"name": inputs["canvas"]["name"], "reruns_failures": True}
    return _trace(inputs).model_copy(update=named)


_trace: Final = canvas.type.trace
canvas.type = registry.flows[canvas.type.name] = replace(
    canvas.type,
    trace=_spec,
    outline=lambda inputs: outline(CanvasPlan.model_validate(inputs["canvas"])),
)


def _loaded(value: Any) -> Any:
    if isinstance(value, list):
        return [_loaded(one) for one in value]
    return value.load() if isinstance(value, LazyResult) else value


class _Walk:
    """One way through a plan."""

    def __init__(self, program: Execution) -> None:
        self._program = program
        self._beside: list[asyncio.Task[Any]] = []  # callbacks, which nothing waits for

    async def run(self, plan: Plan, given: tuple[Any, ...]) -> Any:
        """Run a plan, and return its result.

        Args:
            plan: The plan.
            given: What its first tasks get before their own arguments.

        Raises:
            StepFailed: a task has failed, and all that does not depend on it has ended.
        """
        match plan:
            case TaskPlan():
                return await self._task(plan, given)
            case ChainPlan():
                given = () if plan.immutable else given
                value: Any = None
                for one in plan.steps:
                    value = await self.run(one, given)
                    given = (value,)
                return value
            case GroupPlan():
                return await self._members(plan.tasks, given)
            case ChordPlan():
                given = () if plan.immutable else given
                try:
                    values = await self._members(plan.header, given)
                except StepFailed as error:
                    self._chord_failed(plan.body, error)
                    raise
                return await self.run(plan.body, (values,))

    async def finish(self) -> None:
        """Wait for the callbacks; their failures are in their rows."""
        while self._beside:
            running, self._beside = self._beside, []
            await asyncio.gather(*running, return_exceptions=True)

    # --- groups ----------------------------------------------------------------------------------

    async def _members(self, tasks: tuple[Plan, ...], given: tuple[Any, ...]) -> list[Any]:
        """Run the tasks of a group; the first failure in their order is raised after all ended."""
        ended = await asyncio.gather(
            *(self._member(task, given) for task in tasks), return_exceptions=True
        )
        for one in ended:
            if isinstance(one, BaseException):
                raise one
        return ended

    def _member(self, plan: Plan, given: tuple[Any, ...]) -> Coroutine[Any, Any, Any]:
        """Return what runs a member.

        Members of one call each are awaited together, and the program is woken once for all. The
        others go on as soon as their own calls end.
        """
        if isinstance(plan, TaskPlan) and plan.is_simple:
            return self._task(plan, given)
        return self._by_itself(plan, given)

    async def _by_itself(self, plan: Plan, given: tuple[Any, ...]) -> Any:
        return await asyncio.create_task(self.run(plan, given))

    # --- tasks -----------------------------------------------------------------------------------

    async def _task(self, plan: TaskPlan, given: tuple[Any, ...]) -> Any:
        args = list(plan.args) if plan.immutable else [*given, *plan.args]
        try:
            value = await self._ended(plan, args)
        except StepFailed as error:
            self._call_back(plan, _failure(self._program, plan, args, error))
            raise
        for link in plan.link:
            self._begin(self.run(link, (value,)))
        return value

    async def _ended(self, plan: TaskPlan, args: list[Any]) -> Any:
        """Return the result of a task, or of what replaces it."""
        await self._wait(plan)
        result: LazyResult = await self._call(plan, args, _facts(plan))
        # A plan is never so large that it would have to be loaded.
        if result.is_loaded and NEXT in (outcome := result.load()):
            return await self.run(_PLANS.validate_python(outcome[NEXT]), ())
        return result.part(VALUE)

    async def _wait(self, plan: TaskPlan) -> None:
        """Wait for the time of a task, as a timer of the run."""
        if plan.countdown is not None and plan.countdown > 0:
            await durable.sleep(plan.countdown, key=f"{plan.label}.countdown")
        elif plan.eta is not None and plan.eta > durable.now():
            await durable.sleep(plan.eta - durable.now(), key=f"{plan.label}.eta")

    def _call(
        self, plan: TaskPlan, args: list[Any], facts: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        options = Options(
            key=plan.label,
            lazy=True,
            queue=plan.queue,
            shadow=plan.shadow,
            retry=_RETRIES,
            timeout=None if plan.timeout is None else timedelta(seconds=plan.timeout),
        )
        given = (plan.name, args, plan.kwargs, facts)
        return program_call(self._program, run_task.callee, options, given, {})

    # --- callbacks -------------------------------------------------------------------------------

    def _begin(self, running: Coroutine[Any, Any, Any]) -> None:
        self._beside.append(asyncio.create_task(running))

    def _chord_failed(self, body: Plan, error: StepFailed) -> None:
        """Call the error callbacks of the body of a chord whose header has failed."""
        identity = node_id(self._program.run_of(str(error.step)), str(error.step))
        said = f"Dependency {identity} raised {error.error}({error.reason!r})"
        for plan in first_tasks(body):
            failure = _failure(self._program, plan, list(plan.args), error)
            if not isinstance(body, GroupPlan):  # whose tasks get the error itself
                failure |= {"chord": True, "message": said}
            self._call_back(plan, failure)

    def _call_back(self, plan: TaskPlan, failure: dict[str, Any]) -> None:
        for errback in plan.link_error:
            self._begin(self._errback(errback, failure))

    async def _errback(self, plan: Plan, failure: dict[str, Any]) -> None:
        """Run an error callback: a task gets the error, anything else the id of the failed one."""
        if not isinstance(plan, TaskPlan):
            await self.run(plan, (failure["id"],))
            return
        await self._wait(plan)
        facts = _facts(plan) | {"failure": {**failure, "immutable": plan.immutable}}
        await self._call(plan, list(plan.args), facts)


def _facts(plan: TaskPlan) -> dict[str, Any]:
    """Return what the request of a task has beside its arguments."""
    facts: dict[str, Any] = {}
    expires: datetime | None = plan.expires_at
    if plan.expires_in is not None:
        expires = durable.now() + timedelta(seconds=plan.expires_in)
    if expires is not None:
        facts["expires"] = expires.isoformat()
    given: Mapping[str, Any] = {
        "retries": plan.retries,
        "headers": plan.headers,
        "stamps": plan.stamps,
    }
    return facts | {name: value for name, value in given.items() if value}


def _failure(
    program: Execution, plan: TaskPlan, args: list[Any], error: StepFailed
) -> dict[str, Any]:
    """Return what an error callback gets to know of a failed task."""
    return {
        "key": error.step,
        "id": str(node_id(program.run_of(str(error.step)), str(error.step))),
        "task": plan.name,
        "args": args,
        "kwargs": plan.kwargs,
        "retries": max(error.attempts - 1, 0),
        "error": error.error,
        "message": error.reason,
        "chord": False,
    }
