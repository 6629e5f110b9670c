"""The durable program that runs every playbook: commands become calls, their ends events.

`Control` decides; this does what it decides and reports to it what has happened, one end after the
other. Its state is rebuilt by replay, so there is none to store. `semantics` pins the rules in the
run: a change of the order of calls needs a new number, and both are kept. `limits` pins the
settings that decide, as they were at the submission: a worker with other ones decides the same.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from flowq.authoring import durable
from flowq.authoring.definitions.flows import flow
from flowq.core.errors import FlowqError, NondeterminismError, StepFailed
from flowq.core.spec import FlowSpec
from flowq.engine.registry.registry import registry
from flowq.engine.replay import LazyResult
from flowq.engine.replay.execution import current
from flowq.llm.caller import current_settings
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control, Limits
from flowq.playbooks.control.events import Decision, EventName, Failure
from flowq.playbooks.document.models import Playbook
from flowq.playbooks.running.failures import failure_of
from flowq.playbooks.running.kinds.call import failed
from flowq.playbooks.running.perform import Performer
from flowq.playbooks.running.stored import find
from flowq.tools.text import deeply_plain

NAME: Final = "flowq.playbook"
SEMANTICS: Final = 1
_DEPTH: Final = Limits().depth


@flow(name=NAME)
async def playbook(
    document: dict[str, Any],
    payload: dict[str, Any],
    *,
    execution_id: str | None = None,
    return_step: str | None = None,
    semantics: int = SEMANTICS,
    limits: Limits | None = None,
) -> dict[str, Any]:
    """Run a playbook.

    Args:
        document: The playbook, in its plain form.
        payload: Is merged over the workload of the document.
        execution_id: What templates see; by default the id of the run, of the first one in a rerun.
        return_step: The step whose result is the result of the execution; by default the last.
        semantics: The rules by which the document is read.
        limits: What keeps the execution finite; by default the settings at its submission.

    Returns:
        `status`, `final_step` and `result`.

    Raises:
        StepFailed: a step failed and nothing handled it.
    """
    return await interpret(
        document,
        payload,
        execution_id=execution_id,
        return_step=return_step,
        semantics=semantics,
        limits=limits,
    )


def _spec(inputs: Mapping[str, Any]) -> FlowSpec:
    """Return the spec of a run: its name is the path of the playbook, and its limits are pinned.

    The limits are arguments of the program and no inputs of the run: the same execution id with the
    same payload is the same execution, also after a setting has changed.
    """
    limits = inputs.get("limits") or _limits()
    spec = _trace({**inputs, "limits": asdict(limits)})
    return spec.model_copy(update={"name": inputs["document"]["metadata"]["path"]})


def _limits() -> Limits:
    settings = current_settings()
    return Limits(pages=settings.playbook_pages, calls=settings.program_calls)


_trace: Final = playbook.type.trace
playbook.type = registry.flows[NAME] = replace(playbook.type, trace=_spec)


async def interpret(
    document: Mapping[str, Any],
    payload: Mapping[str, Any],
    *,
    execution_id: str | None = None,
    return_step: str | None = None,
    semantics: int = SEMANTICS,
    limits: Limits | None = None,
    report: Callable[[Decision], None] = lambda _: None,
    watch: Callable[[Control], None] = lambda _: None,
) -> dict[str, Any]:
    """Run a playbook; as `playbook`.

    Args:
        document: As there; so are those down to `limits`.
        payload: Likewise.
        execution_id: Likewise.
        return_step: Likewise.
        semantics: Likewise.
        limits: Likewise.
        report: Gets each decision, for the log.
        watch: Gets what decides, before it does.
    """
    if semantics != SEMANTICS:
        raise NondeterminismError(
            f"the run was started with the semantics {semantics} of playbooks, this worker has "
            f"{SEMANTICS}",
            hint="start workers of the version that started it",
        )
    program = current()
    assert program is not None
    control = Control(
        Playbook.of(document),
        payload,
        execution_id=execution_id or str(program.first_run_id),
        now=durable.now,
        uuid=durable.uuid,
        report=report,
        limits=limits,
    )
    performer = Performer(str(program.run_id), control.state, partial(_run_child, limits))
    watch(control)
    await _Interpreter(control, performer, report).run()
    outcome = control.outcome()
    result = outcome.result
    if return_step is not None:
        result = control.state.step_results.get(return_step)
    return {
        "status": outcome.status,
        "final_step": outcome.final_step,
        "result": deeply_plain(result),
    }


class _Interpreter:
    """Performs commands until none is left."""

    def __init__(
        self, control: Control, performer: Performer, report: Callable[[Decision], None]
    ) -> None:
        self._control = control
        self._report = report
        self._performer = performer
        self._ended: asyncio.Queue[tuple[Command, Any]] = asyncio.Queue()
        self._tasks: dict[asyncio.Task[None], int] = {}  # in their order, as replays need it
        self._open = 0

    async def run(self) -> None:
        """Perform all that the control asks for."""
        self._begin(self._control.start())
        while self._open and not self._control.is_done:
            command, value = await self._ended.get()
            self._open -= 1
            for name in (EventName.COMMAND_CLAIMED, EventName.COMMAND_STARTED):
                self._report(Decision(name, command.step, {"command_id": command.id}))
            if isinstance(value, Exception):
                raise value
            if isinstance(value, Failure):
                self._begin(self._control.failed(command.id, value))
            else:
                self._begin(self._control.completed(command.id, value))
        for task in list(self._tasks):
            task.cancel()

    def _begin(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._open += 1
            task = asyncio.create_task(self._perform(command))
            self._tasks[task] = command.id
            task.add_done_callback(self._tasks.pop)

    async def _perform(self, command: Command) -> None:
        try:
            value = await self._performer.perform(command)
        except FlowqError as error:
            value = failure_of(error)
        except Exception as error:  # noqa: BLE001 - no failure of the call: it fails the run
            value = error
        self._ended.put_nowait((command, value))


async def _run_child(limits: Limits | None, command: Command, payload: Mapping[str, Any]) -> Any:
    """Run a child playbook, with the limits of this one, and return its result."""
    # A run that was submitted before limits were pinned has recorded this call without them.
    pinned: dict[str, Any] = {}
    if limits is not None:
        if limits.depth <= 1:
            raise failed(
                "LimitReached", f"playbooks call each other {_DEPTH} deep: does one call itself?"
            )
        pinned = {"limits": replace(limits, depth=limits.depth - 1)}
    config = command.tool.config
    look_up = find.options(key=f"{command.step}.find", lazy=True)
    found: Any = await look_up(config["path"], config.get("version"))
    if not found.size:
        version = f" version {config['version']}" if config.get("version") else ""
        raise failed("PlaybookNotFound", f"no playbook is registered as {config['path']}{version}")
    child: Any = playbook.options(key=command.step, lazy=True)
    try:
        outcome: LazyResult = await child(
            document=found, payload=dict(payload), return_step=config.get("return_step"), **pinned
        )
    except StepFailed as error:
        raise failed("PlaybookFailed", error.reason or error.message) from None
    return outcome.part("result")
