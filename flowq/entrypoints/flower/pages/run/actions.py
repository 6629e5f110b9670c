"""Actions on the page of a run: cancel, pause, resume, rerun, send a signal, raise a budget.

Each action has an address. GET shows a form that describes the effect, so it works without a script
and a link changes nothing. POST performs the action and redirects to the run. An error is shown
beside the typed values. Flower requires no token when it has no login. These forms always require a
token and the same origin; otherwise any page that an operator opens could cancel runs.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tornado.web import authenticated

from flowq.client import Run
from flowq.core.errors import FlowqError, InvalidInput, RunNotFound, Unavailable
from flowq.core.states import TERMINAL_RUN_STATES, RunState
from flowq.engine.engine import Engine
from flowq.engine.model.actions import Face
from flowq.engine.model.reruns import RerunPreview
from flowq.engine.model.rows import RunView
from flowq.engine.queries.run_page import RunPage
from flowq.engine.runs.actors import acting
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages.run import rerunning
from flowq.entrypoints.flower.pages.run.request import read_page, run_id_of
from flowq.entrypoints.rerun_reasons import reason, totals, what_happens

Form = Mapping[str, Any]

#: A number of tokens, with commas between thousands or without.
_TOKENS: Final = re.compile(r"[0-9]{1,3}(?:,[0-9]{3}){1,9}|[0-9]{1,30}")


@dataclass(frozen=True, slots=True)
class PageAction:
    """An action on a run.

    Attributes:
        name: The last part of its address.
        label: The text of its button.
        says: A description of the effect.
        fields: The names of the form fields.
        do: Performs it.
        may: Returns whether it is possible now.
        is_grave: Whether it cannot be undone.
    """

    name: str
    label: str
    says: str
    fields: tuple[str, ...]
    do: Callable[[Run[Any], Form], object]
    may: Callable[[RunPage], bool]
    is_grave: bool = False


def _raise_budget(run: Run[Any], form: Form) -> None:
    usd, tokens = form["usd"].strip().removeprefix("$").strip(), form["tokens"].strip()
    if tokens and not _TOKENS.fullmatch(tokens):
        raise InvalidInput(
            f"{formatting.shortened(tokens)!r} is not a number of tokens",
            hint="give a whole number, such as 200000",
        )
    if not (usd or tokens):
        raise InvalidInput("no new budget is given", hint="type the new limit of the run, in total")
    run.raise_budget(usd=usd or None, tokens=int(tokens.replace(",", "")) if tokens else None)


def _is_open(page: RunPage) -> bool:
    return page.run.status not in TERMINAL_RUN_STATES


ACTIONS: Final = {
    action.name: action
    for action in (
        PageAction(
            "signal",
            "Send signal",
            "The run receives the signal when it waits for it. A signal cannot be withdrawn.",
            (),  # its page is in `signals`
            lambda run, form: run.send_signal(form["name"], form["payload"]),
            lambda page: _is_open(page) and page.takes_signals,
        ),
        PageAction(
            "budget",
            "Raise budget",
            "The new total limit of the run, not the added amount. If the run was paused because "
            "its budget was spent, it is resumed.",
            ("usd", "tokens"),
            _raise_budget,
            lambda page: _is_open(page) and page.run.budget is not None,
        ),
        PageAction(
            "pause",
            "Pause",
            "Nothing of the run and its child runs begins until it is resumed. Running steps "
            "continue to their end.",
            ("reason",),
            lambda run, form: run.pause(form["reason"]),
            lambda page: page.run.status is RunState.RUNNING,
        ),
        PageAction(
            "resume",
            "Resume",
            "The run and its child runs continue where they were paused.",
            (),
            lambda run, _: run.resume(),
            lambda page: page.run.status is RunState.PAUSED,
        ),
        PageAction(
            "cancel",
            "Cancel run",
            "The run and its child runs are cancelled: no further step begins, and running "
            "steps are asked to stop. This cannot be undone.",
            ("reason",),
            lambda run, form: run.cancel(form["reason"]),
            lambda page: _is_open(page) and page.run.status is not RunState.CANCELLING,
            is_grave=True,
        ),
        PageAction(
            "rerun",
            "Rerun",
            "A new run reuses what this one has completed, at no cost, and runs the rest.",
            ("from_step", "inputs", "form"),
            rerunning.rerun,
            lambda page: not _is_open(page),
        ),
    )
}


def offered(page: RunPage) -> list[PageAction]:
    """Return the actions that are possible now."""
    return [action for action in ACTIONS.values() if action.may(page)]


def _turned(wanted: str, *states: RunState) -> Callable[[RunState], str]:
    """Return the notice after an action that should change the state of a run."""
    return lambda now: wanted if now in states else f"The run is unchanged: it is {now}."


_GOES_ON: Final = (RunState.RUNNING, RunState.COMPLETED)
#: From an action to the notice after it, by the new state of the run.
NOTICES: Final[Mapping[str, Callable[[RunState], str]]] = {
    "signal": lambda _: "The signal is sent.",
    "budget": lambda _: "The budget is raised.",
    "pause": _turned("The run is paused.", RunState.PAUSED),
    "resume": _turned("The run is resumed.", *_GOES_ON),
    "rerun": lambda _: "This is the rerun.",
    "cancel": _turned("The run is being cancelled.", RunState.CANCELLING, RunState.CANCELLED),
}
#: Names the run and the action that was just done to it; only the next page of this run reads it.
_DONE: Final = "flowq_done"


def notice_of(page: PageHandler, run: RunView) -> str | None:
    """Return the notice of the action that this browser has just done to a run, once.

    It is in a cookie, and not in the address, which can be reloaded, saved and shared.
    """
    run_id, _, name = page.get_cookie(_DONE, "").partition(".")
    if run_id != str(run.id) or name not in NOTICES:
        return None
    page.clear_cookie(_DONE, path=page.reverse_url("flow-run", run.id))
    return NOTICES[name](run.status)


class ActionPage(PageHandler):
    """The base of the pages of actions."""

    def is_refused(self, page: RunPage, action: PageAction) -> bool:
        """Tell that a run has ended, if the action is not possible then; return whether."""
        run = page.run
        if run.status not in TERMINAL_RUN_STATES or action.may(page):
            return False
        self.set_status(409)
        needs = f"“{action.label}” needs a run that is not finished"
        error = InvalidInput(f"run {run.id} is {run.status}: {needs}")
        self.show("problem", error=error, back=self.reverse_url("flow-run", run.id))
        return True

    def done(self, run_id: str, name: str) -> None:
        """Redirect to a run, whose page then tells what was done."""
        back = self.reverse_url("flow-run", run_id)
        self.set_cookie(
            _DONE, f"{run_id}.{name}", path=back, max_age=60, httponly=True, samesite="Lax"
        )
        self.redirect(back, status=303)


class RunAction(ActionPage):
    """`/flows/<id>/<action>`."""

    @authenticated
    async def get(self, run_id: str, name: str) -> None:
        """Show the form of the action."""
        self.refuse_when_read_only()
        action = ACTIONS[name]
        page = await self.read(partial(read_page, run_id=run_id_of(run_id)))
        if self.is_refused(page, action):
            return
        typed = {field: self.get_argument(field, "", escape=False) for field in action.fields}
        if "inputs" in typed:
            typed["inputs"] = rerunning.shown_inputs(page.run) if self._takes_inputs(page) else ""
            typed["form"] = rerunning.form_id("")
        self._ask(page, action, typed)

    @authenticated
    async def post(self, run_id: str, name: str) -> None:
        """Perform the action and redirect to the run; or show what it would do, if asked to."""
        self.refuse_when_read_only()
        action = ACTIONS[name]
        typed = {field: self.get_body_argument(field, "") for field in action.fields}
        if not self.shows_content and "inputs" in typed:
            typed["inputs"] = ""
        if "form" in typed:
            typed["form"] = rerunning.form_id(typed["form"])
        given = {**typed, "reason": self._because(typed["reason"])} if "reason" in typed else typed
        try:
            if name == "rerun" and self.get_body_argument("preview", ""):
                preview = await self.read(partial(_preview, run_id, typed))
                page = await self.read(partial(read_page, run_id=run_id_of(run_id)))
                self._ask(page, action, typed, preview=preview)
                return
            done = await self.read(partial(do, run_id, action, given, self.who))
        except (RunNotFound, Unavailable):
            raise
        except FlowqError as error:
            page = await self.read(partial(read_page, run_id=run_id_of(run_id)))
            self.set_status(409 if not isinstance(error, InvalidInput) else 400)
            self._ask(page, action, typed, error)
            return
        self.done(str(done.id) if isinstance(done, Run) else run_id, name)

    def _ask(
        self,
        page: RunPage,
        action: PageAction,
        typed: Form,
        error: FlowqError | None = None,
        *,
        preview: RerunPreview | None = None,
    ) -> None:
        self.show(
            "run_action",
            page=page,
            run=page.run,
            action=action,
            typed=typed,
            error=error,
            preview=preview,
            takes_inputs="inputs" in typed and self._takes_inputs(page),
            reason=reason,
            totals=totals,
            what_happens=what_happens,
            back=self.reverse_url("flow-run", page.run.id),
        )

    def _takes_inputs(self, page: RunPage) -> bool:
        return self.shows_content and rerunning.takes_inputs(page.run)

    def _because(self, typed: str) -> str:
        """Return the reason and the user, as they are recorded with the run."""
        by = f"by {self.who} in Flower" if self.who else "in Flower"
        return f"{typed.strip()} ({by})" if typed.strip() else by


def do(run_id: str, action: PageAction, form: Form, who: str | None, _: Engine) -> object:
    """Perform an action on a run, in the name of whoever is logged in."""
    with acting(Face.FLOWER, who):
        return action.do(Run.get(run_id), form)


def _preview(run_id: str, form: Form, _: Engine) -> RerunPreview:
    return rerunning.preview(Run.get(run_id), form)
