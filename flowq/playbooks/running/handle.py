"""The handle of an execution: its run, and what the document's steps have done in it.

    run = book.enqueue({"n": 3})
    run.result(timeout=60)["result"]
    run.playbook.step("start")

A run knows its calls by their keys; `run.playbook` knows the steps of the document, the variables
and the log. It is the program replayed over the rows of the run, once, when the first question is
asked. So all answers are of one moment; ask `run.playbook` again for those of a later one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self
from uuid import UUID

from flowq import bootstrap
from flowq.client import Run
from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import RunId
from flowq.playbooks.running.answers import Answers
from flowq.playbooks.running.log import LogEvent, Replayed, replayed
from flowq.playbooks.running.program import NAME
from flowq.tools.text import deeply_plain


class Execution:
    """What has happened in an execution, as far as its program has observed it.

    A call that has just finished may be missing until the program continues. Large results are
    loaded when they are asked for.
    """

    def __init__(self, run_id: RunId) -> None:
        self._run_id = run_id

    @cached_property
    def _replayed(self) -> Replayed:
        return replayed(bootstrap.engine(), self._run_id)

    @property
    def ctx(self) -> Mapping[str, Any]:
        """The variables of the execution."""
        return self._replayed.state.context

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps that have a result, in the order in which they first had one."""
        return tuple(self._replayed.state.step_results)

    @property
    def active(self) -> tuple[str, ...]:
        """The names of the steps that have begun and not finished, the oldest first."""
        return tuple(one.step for one in self._replayed.state.activations.values())

    def step(self, name: str) -> Any:
        """Return the result of a step; of one that has run several times, the last.

        Raises:
            InvalidInput: it has no result, or not yet.
        """
        results = self._replayed.state.step_results
        if name not in results:
            known = ", ".join(results) or "none yet"
            raise InvalidInput(
                f"step {name!r} of execution {self._run_id} has no result",
                hint=f"steps that have one: {known}",
            )
        return deeply_plain(results[name])

    def events(self, *, after: int = 0) -> Sequence[LogEvent]:
        """Return the log, in order; with `after`, the events of higher ids.

        Results over 64 KiB are named, as in the answers of the HTTP service.
        """
        return Answers(bootstrap.engine(), self._run_id).events(self._replayed.events[after:])


@dataclass(frozen=True)
class PlaybookRun(Run[dict[str, Any]]):
    """A run of a playbook. Its result has `status`, `final_step` and `result`."""

    @classmethod
    def get(cls, run_id: UUID | str) -> Self:
        """Find an execution by the id of its run, or by the first characters of it.

        Raises:
            RunNotFound: no run, or more than one, has such an id, or it is of another flow.
        """
        found = super().get(run_id)
        definition = bootstrap.engine().definitions.get(found.id).definition
        program = definition.spec.program
        if program is None or program.name != NAME:
            raise RunNotFound(
                f"run {found.id} is of the flow {found.flow_name!r}, which is no playbook",
                hint="flowq.Run.get(…) finds it",
            )
        return cls(found.id, found.flow_name)

    @property
    def playbook(self) -> Execution:
        """The steps, the variables and the log of the execution, as they are now."""
        return Execution(self.id)

    async def aplaybook(self) -> Execution:
        """Like `playbook`, without blocking the event loop: it has been read already."""
        found = self.playbook
        await asyncio.to_thread(getattr, found, "_replayed")
        return found
