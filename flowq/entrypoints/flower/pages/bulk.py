"""Actions on many runs of a list: `/flows/bulk/<action>`, cancel, pause, resume and rerun.

GET shows how many runs it is about, and which: the ticked ones, or all that match the filter, up
to `MAX_RUNS`. The page holds their ids, so POST acts on exactly the runs whose number was shown,
and on none that has come meanwhile. A run that can no longer be changed is counted apart. A form
that is sent twice acts once: it has an id, which is a part of the keys of the reruns it starts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from tornado.web import HTTPError, authenticated

from flowq.client import Run
from flowq.core.errors import FlowqError, InvalidInput, RunNotFound, Unavailable
from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, TERMINAL_RUN_STATES, RunState
from flowq.engine.engine import Engine
from flowq.engine.model.actions import Face
from flowq.engine.queries.lists import ListedRun, RunFilter
from flowq.engine.runs.actors import acting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages import filters
from flowq.entrypoints.flower.pages.run import rerunning
from flowq.entrypoints.flower.pages.run.request import run_id_of

#: Runs that one form acts on.
MAX_RUNS: Final = 1_000
_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class BulkAction:
    """An action on many runs.

    Attributes:
        name: The last part of its address.
        label: The text of its button.
        says: A description of the effect.
        states: The states of the runs that it can change.
        do: Changes one run, for the reason and by the id of a form.
        wanted: The states of a run that it has changed.
        usual: The states that a filter without a state chooses, as on the command line; by
            default all of `states`.
        takes_reason: Whether a reason is recorded.
        is_grave: Whether it cannot be undone.
    """

    name: str
    label: str
    says: str
    states: frozenset[RunState]
    do: Callable[[Run[Any], str, str], RunState]
    wanted: frozenset[RunState]
    usual: frozenset[RunState] = frozenset()
    takes_reason: bool = True
    is_grave: bool = False


BULK: Final[Mapping[str, BulkAction]] = {
    one.name: one
    for one in (
        BulkAction(
            "pause",
            "Pause",
            "No step of these runs and their child runs begins until they are resumed.",
            frozenset({RunState.RUNNING}),
            lambda run, reason, _: run.pause(reason),
            frozenset({RunState.PAUSED}),
        ),
        BulkAction(
            "resume",
            "Resume",
            "These runs and their child runs continue where they were paused.",
            frozenset({RunState.PAUSED}),
            lambda run, *_: run.resume(),
            frozenset({RunState.RUNNING, RunState.COMPLETED}),
            takes_reason=False,
        ),
        BulkAction(
            "cancel",
            "Cancel",
            "These runs and their child runs are cancelled: no further step begins, and running "
            "steps are asked to stop. This cannot be undone.",
            OPEN_RUN_STATES - {RunState.CANCELLING},
            lambda run, reason, _: run.cancel(reason),
            frozenset({RunState.CANCELLING, RunState.CANCELLED}),
            is_grave=True,
        ),
        BulkAction(
            "rerun",
            "Rerun",
            "For each of these runs a new run reuses what it has completed, at no cost, and runs "
            "the rest.",
            TERMINAL_RUN_STATES,
            lambda run, _, form: rerunning.rerun_as_it_was(run, form).status,
            frozenset(RunState),
            usual=frozenset({RunState.FAILED, RunState.CANCELLED}),
            takes_reason=False,
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of the runs.

    Attributes:
        changed: How many were changed.
        failed: The runs that were not, each with the reason.
    """

    changed: int
    failed: Sequence[tuple[RunId, str]]


class BulkPage(PageHandler):
    """`/flows/bulk/<action>`."""

    @authenticated
    async def get(self, name: str) -> None:
        """Show which runs the action is about."""
        self.refuse_when_read_only()
        action = BULK[name]
        given = {name: self.get_query_argument(name, "") for name in filters.ARGUMENTS}
        query = filters.parse(
            given, datetime.now(UTC), shows_content=self.shows_content, labels=self.labels
        )
        if query.problems:
            raise InvalidInput(" ".join(query.problems.values()), hint="open the list of flows")
        wanted, usual = query.wanted, frozenset[RunState]()
        if self.get_query_argument("all", ""):
            if not wanted.states:
                usual = action.usual
                wanted = replace(wanted, states=usual)
            found = await self.read(partial(_matching, wanted=wanted))
        else:
            texts = self.get_query_arguments("id")[:MAX_RUNS]
            found = await self.read(partial(_named, ids=[run_id_of(text) for text in texts]))
        able = [run for run in found if run.status in action.states]
        self.show(
            "bulk",
            action=action,
            runs=able[:MAX_RUNS],
            shown=_SHOWN,
            is_cut=len(found) > MAX_RUNS,
            others=len(found) - len(able),
            usual=sorted(usual),
            back=self.reverse_url("flows") + query.address(),
            outcome=None,
            form=rerunning.form_id(""),
        )

    @authenticated
    async def post(self, name: str) -> None:
        """Act on the runs of the form.

        Raises:
            HTTPError: 400; it has too many ids.
        """
        self.refuse_when_read_only()
        action = BULK[name]
        texts = self.get_body_argument("ids", "").split()
        if len(texts) > MAX_RUNS:
            raise HTTPError(400, f"a form may have at most {MAX_RUNS} runs")
        ids = [run_id_of(text) for text in texts]
        by = f"by {self.who} in Flower" if self.who else "in Flower"
        reason = self.get_body_argument("reason", "").strip()
        because = f"{reason} ({by})" if reason else by
        form = rerunning.form_id(self.get_body_argument("form", ""))

        def change(run: Run[Any]) -> RunState:
            return action.do(run, because, form)

        outcome = await self.read(
            partial(_act, change=change, wanted=action.wanted, ids=ids, who=self.who)
        )
        self.show(
            "bulk",
            action=action,
            runs=[],
            shown=_SHOWN,
            is_cut=False,
            others=0,
            usual=(),
            back=self.reverse_url("flows"),
            outcome=outcome,
        )


def _matching(engine: Engine, wanted: RunFilter) -> list[ListedRun]:
    page = engine.records.autocommit(
        lambda tx: tx.overview.runs_page(wanted, limit=MAX_RUNS + 1, counts=False)
    )
    return list(page.runs)


def _named(engine: Engine, ids: Sequence[RunId]) -> list[ListedRun]:
    found = engine.records.autocommit(lambda tx: tx.overview.listed(ids))
    if missing := set(ids) - {run.id for run in found}:
        raise RunNotFound.of(min(missing))
    return found


def _act(
    engine: Engine,  # noqa: ARG001 - the client finds it itself
    change: Callable[[Run[Any]], RunState],
    wanted: frozenset[RunState],
    ids: Sequence[RunId],
    who: str | None,
) -> Outcome:
    changed, failed = 0, []
    for run_id in ids:
        try:
            with acting(Face.FLOWER, who):
                state = change(Run.get(run_id))
        except Unavailable as error:  # the other runs would wait for it one after the other
            failed += [(one, error.message) for one in ids[ids.index(run_id) :]]
            break
        except FlowqError as error:
            failed.append((run_id, error.message))
            continue
        if state in wanted:
            changed += 1
        else:
            failed.append((run_id, f"it is {state}"))
    return Outcome(changed, failed)
