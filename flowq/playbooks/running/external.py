"""Steps of the tool `external`: who answers them, and what follows from an answer.

A command that waits for somebody waits for a signal of its run. The answer is an event of the step:
`call.done` with a response, or `call.error` with an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from flowq.client import Run
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control
from flowq.playbooks.control.events import Event, EventName
from flowq.playbooks.running.perform import signal_name

_KIND: Final = "external"


@dataclass(frozen=True, slots=True)
class OpenCommand:
    """A command that waits for somebody."""

    id: int
    step: str
    attempt: int


def open_commands(control: Control) -> Iterator[OpenCommand]:
    """Yield the commands that wait for somebody, the oldest first."""
    for command_id, (number, index) in control.state.open.items():
        activation = control.state.activations[number]
        item = activation.items[index]
        if item.tool is not None and item.tool.kind == _KIND:
            yield OpenCommand(command_id, activation.step, item.attempt)


def answer(run: Run[Any], control: Control, event: Event) -> list[Command]:
    """Send the end of an external call to its run.

    Args:
        run: The run.
        control: The execution as it is, which the event changes.
        event: `call.done` or `call.error` of a step; `payload.command_id` says of which command, if
            there are several.

    Returns:
        The commands that follow; none if no such command waits.

    Raises:
        SignalRefused: the run has ended.
    """
    named = event.payload.get("command_id")
    waiting = (
        one.id
        for one in open_commands(control)
        if one.step == event.step and named in (None, one.id)
    )
    command_id = next(waiting, None)
    if command_id is None:
        return []
    run.send_signal(signal_name(command_id), _message(event))
    known = event.model_copy(update={"payload": {**event.payload, "command_id": command_id}})
    return control.handle(known)


def _message(event: Event) -> dict[str, Any]:
    payload = event.payload
    error = payload.get("error")
    if error is None and event.name == EventName.CALL_DONE:
        return {"result": payload.get("response", payload.get("result"))}
    return {"error": error or {"message": "the call failed"}}
