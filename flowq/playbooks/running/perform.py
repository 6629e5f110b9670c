"""Does the work of one command: a call of a tool, a map, a child run, or a wait.

Each is an awaited call of the durable program, so it has a row with the step's name in its key. A
delay before a retry is a timer, which holds no worker.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ConfigDict
from typing_extensions import TypedDict

from flowq.authoring import durable
from flowq.authoring.definitions.limiting import Concurrency
from flowq.authoring.definitions.steps import Step
from flowq.engine.replay import LazyResult
from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.commands import Command, Deferred, carried
from flowq.playbooks.control.state import ExecutionState
from flowq.playbooks.control.steps.results import MapResult
from flowq.playbooks.document.grammar.tools import PAYLOADS, YEAR
from flowq.playbooks.document.models import Json
from flowq.playbooks.running.failures import failure_of
from flowq.playbooks.running.kinds.call import failed
from flowq.playbooks.running.tools import TOOLS

#: The program that runs a child playbook: from its path, version, payload and step to its result.
RunChild = Callable[[Command, Mapping[str, Any]], Awaitable[Any]]
#: Begins the name of the signal that an `external` command waits for.
_SIGNAL: Final = "call:"


class _Answer(TypedDict, total=False):
    """The message that completes an `external` command; another form is refused."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    result: Any
    error: Any


@dataclass(frozen=True, slots=True)
class Performer:
    """Does the work of the commands of one execution.

    Attributes:
        run_id: The run.
        state: The state of the execution, for the code of tools that asks for it.
        run_child: Runs a child playbook.
    """

    run_id: str
    state: ExecutionState
    run_child: RunChild

    async def perform(self, command: Command) -> Any:
        """Return the result of a command.

        Raises:
            FlowqError: it has failed.
        """
        if command.backoff:
            await durable.sleep(command.backoff)
        if command.work == "child":
            return await self.run_child(command, _payload(command))
        if command.work == "external":
            return await _external(command)
        if command.work == "timer":
            return await durable.sleep(_seconds(command), key=command.step)
        tool = TOOLS.get(command.tool.kind)
        if tool is None:
            known = f"Unsupported tool kind {command.tool.kind!r}: this worker has no such tool"
            raise failed("UnsupportedTool", f"{known}; is its version older than the sender's?")
        step = _with_options(tool, command)
        given = {
            "config": carried(command.tool.config),
            "args": carried(command.args),
            "context": self._context(command),
        }
        if command.work == "map":
            return await self._map(step, command, given)
        return await step(**given)

    async def _map(self, step: Step[..., Any], command: Command, given: dict[str, Any]) -> Any:
        items = list(command.items or ())
        most = command.max_concurrency
        if most is not None and len(items) > most:
            key = f"playbook {self.run_id} {command.id}"
            step = step.options(concurrency=Concurrency(most, key=key))
        if command.on_error == "collect":
            step = step.options(tolerate="100%")
        called: Any = step.map(items, iterator=command.iterator, **given)
        results: LazyResult = await called
        failed = {index: failure_of(one) for index, one in results.failures.items()}
        return MapResult(results, failed)

    def _context(self, command: Command) -> dict[str, Any]:
        """Return what the code of a tool can ask for; what it does not ask for is not copied."""
        context: dict[str, Any] = {
            "execution_id": command.execution_id,
            "step": command.step,
            "expects": list(command.expects),
            "returns": list(command.returns),
        }
        if command.tool.kind == "python" and "context" in str(command.tool.config.get("code", "")):
            context |= {"workload": self.state.workload, "vars": self._variables()}
        return context

    def _variables(self) -> Json:
        """Return the variables of the execution as arguments.

        Raises:
            CallFailed: one is known on the worker only.
        """
        if _has_deferred(self.state.ctx):
            raise failed("ValueError", "a variable that was made of a secret is not in `context`")
        return argument(self.state.ctx)


def _with_options(step: Step[..., Any], command: Command) -> Step[..., Any]:
    given = {"timeout": command.timeout, "queue": command.queue, "retry": command.retry}
    known: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    return step.options(key=command.step, lazy=True, **known)


def _payload(command: Command) -> dict[str, Any]:
    """Return the payload of a child playbook: the arguments of the step, then those of the tool.

    Raises:
        CallFailed: it is no mapping; or a text of it needs a worker, and no step of this playbook
            renders it.
    """
    config = command.tool.config
    own: Any = next((config[key] for key in PAYLOADS if config.get(key)), {})
    if not isinstance(own, Mapping | Deferred):
        raise failed("ValueError", "the payload of a playbook must be a mapping")
    if isinstance(own, Deferred) or _has_deferred(payload := {**command.args, **own}):
        raise failed(
            "ValueError",
            "a playbook cannot be given a secret, nor a text with a block; "
            "its own steps can name the secret",
        )
    return payload


def _has_deferred(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_has_deferred, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_has_deferred, value))
    return isinstance(value, Deferred)


async def _external(command: Command) -> Any:
    """Wait for the end of a call that somebody else makes."""
    timeout = command.tool.config.get("timeout")
    message = await durable.signal(
        f"{_SIGNAL}{command.id}", _Answer, timeout=None if timeout is None else float(timeout)
    )
    error = message.get("error")
    if error is None:
        return message.get("result")
    known: Mapping[str, Any] = error if isinstance(error, Mapping) else {"message": str(error)}
    raise failed(
        str(known.get("type", "ExternalError")),
        str(known.get("message", "it has failed")),
        status=known.get("status"),
        body=known.get("body"),
    )


def _seconds(command: Command) -> float:
    """Return how long a delay takes.

    Raises:
        CallFailed: its template has given no such number.
    """
    found = command.tool.config["seconds"]
    try:
        seconds = float(found)
    except (TypeError, ValueError):
        seconds = -1
    if not 0 <= seconds <= YEAR:
        raise failed("ValueError", f"seconds: must be a number from 0 to {YEAR:,}, not {found!r}")
    return seconds


def signal_name(command_id: int) -> str:
    """Return the name of the signal that ends an `external` command."""
    return f"{_SIGNAL}{command_id}"
