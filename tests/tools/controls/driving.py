"""Drives a `Control` to its end: commands are answered in the order in which they were made.

`answers` says what the calls of a step return: a list (one value per call, the last one repeated),
or a function of the command. A `Failure` among them is a call that failed.
"""

from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from flowq.playbooks.control.carrying import argument
from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import Control, Limits
from flowq.playbooks.control.events import Decision, Failure
from flowq.playbooks.document.models import Playbook

NOOP: Mapping[str, Any] = {"kind": "noop"}
NOW = datetime(2026, 11, 29, tzinfo=UTC)
Answer = Callable[[Command], object] | list[object]


def playbook(*steps: Mapping[str, Any], **rest: Any) -> Playbook:
    """Make a document of steps; those without a tool get `noop`."""
    return Playbook.of(
        {
            "metadata": {"name": "test", "path": "test"},
            "workflow": [{"tool": NOOP, **step} for step in steps],
            **rest,
        }
    )


class Drive:
    """One execution, driven to its end.

    Attributes:
        commands: All that were made, in order.
        decisions: What was logged, in order.
    """

    def __init__(
        self,
        book: Playbook,
        answers: Mapping[str, Answer] | None = None,
        *,
        payload: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        last_first: bool = False,
    ) -> None:
        self.commands: list[Command] = []
        self.decisions: list[Decision] = []
        self._answers = dict(answers or {})
        self._calls: dict[str, int] = {}
        self.control = Control(
            book,
            payload or {},
            execution_id="e1",
            now=lambda: NOW,
            uuid=lambda: UUID(int=1),
            report=self.decisions.append,
            limits=limits or Limits(),
        )
        self._drive(last_first=last_first)

    def _drive(self, *, last_first: bool) -> None:
        waiting = deque(self.control.start())
        while waiting:
            command = waiting.pop() if last_first else waiting.popleft()
            self.commands.append(command)
            answer = self._answer(command)
            if isinstance(answer, Failure):
                waiting.extend(self.control.failed(command.id, answer))
            else:
                waiting.extend(self.control.completed(command.id, answer))

    def _answer(self, command: Command) -> object:
        answers = self._answers.get(command.step, [None])
        if callable(answers):
            return answers(command)
        number = self._calls.get(command.step, 0)
        self._calls[command.step] = number + 1
        return answers[min(number, len(answers) - 1)]

    def steps(self) -> list[str]:
        """Return the steps of all commands, in order."""
        return [command.step for command in self.commands]

    def names(self) -> list[str]:
        """Return the names of what was logged, in order."""
        return [one.name for one in self.decisions]

    def fired(self, step: str = "start", entry: int = 0) -> list[str]:
        """Return the events on which an entry of `case` fired: `call.done`, in order."""
        return [
            str(one.payload["event"])
            for one in self.decisions
            if one.name == "case.evaluated" and one.step == step and one.payload["entry"] == entry
        ]

    @property
    def ctx(self) -> Mapping[str, Any]:
        """The variables of the execution."""
        return self.control.state.context

    @property
    def result(self) -> object:
        """The result of the execution, which has to be complete, as a command would carry it."""
        return argument(self.control.outcome().result)
