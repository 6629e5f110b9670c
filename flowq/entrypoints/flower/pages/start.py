"""Starting a run from a form: `/flows/start`, one page for each flow, and one for each request.

Flower need not know the code of the flow: the form is made from the schema that a worker has
recorded, and a worker starts the run (`flowq.engine.schedules.requested`). Until then the request
has a page, which leads to the page of the run as soon as there is one. What the worker refuses is
shown in the form again.
"""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Any, Final

from tornado.web import authenticated

from flowq.core.errors import InvalidInput, RunNotFound
from flowq.core.ids import RunId
from flowq.core.limits.queueing import MAX_PRIORITY
from flowq.engine.engine import Engine
from flowq.engine.model.actions import Face
from flowq.engine.model.requested import RequestedRun, RequestOptions
from flowq.engine.ports import Transaction
from flowq.engine.runs.actors import acting
from flowq.engine.schedules.requested import recorded_flow, request_run, withdraw
from flowq.entrypoints.flower.forms.values import Form, FormInvalid
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages.run.request import run_id_of

#: Flows on the page that lists them.
_PAGE: Final = 200
#: Seconds after which the page of a request is loaded again.
_AGAIN: Final = 1
#: A form for what a run is given beside its inputs.
_OPTIONS: Final = Form(
    {
        "type": "object",
        "properties": {
            "priority": {
                "type": "integer",
                "minimum": 0,
                "maximum": MAX_PRIORITY,
                "default": 0,
                "description": "Steps of runs with a higher one go first",
            },
            "delay": {
                "anyOf": [
                    {"type": "number", "exclusiveMinimum": 0, "maximum": 52_560_000},
                    {"type": "null"},
                ],
                "description": "Minutes until it begins; none: now",
            },
            "user": {
                "anyOf": [{"type": "string", "maxLength": 200}, {"type": "null"}],
                "description": "Whose run it is",
            },
        },
    },
    "run",
)


class StartList(PageHandler):
    """`/flows/start`: the flows that workers have recorded."""

    @authenticated
    async def get(self) -> None:
        """Show their names."""
        self.refuse_when_read_only()
        after = self.get_query_argument("after", "")
        names = await self.read(
            lambda engine: engine.records.autocommit(
                lambda tx: tx.requested.names(after=after, limit=_PAGE + 1)
            )
        )
        more = names[_PAGE - 1] if len(names) > _PAGE else None
        self.show("start_list", names=names[:_PAGE], more=more, after=after)


class _StartForm(PageHandler):
    """The base of the pages that show the form of a flow."""

    def show_form(
        self,
        name: str,
        form: Form,
        typed: Mapping[str, str],
        problems: Mapping[str, str] | None = None,
    ) -> None:
        """Show the form: what is typed into it, and what is wrong with that."""
        problems = problems or {}
        self.show(
            "start",
            name=name,
            form=form,
            options=_OPTIONS,
            typed={**_OPTIONS.typed(), **typed},
            problems=problems,
            sentences=[
                *form.sentences(_part(form, problems)),
                *_OPTIONS.sentences(_part(_OPTIONS, problems)),
            ],
        )


class StartPage(_StartForm):
    """`/flows/start/<name>`: the form of a flow."""

    @authenticated
    async def get(self, name: str) -> None:
        """Show the form, with the defaults of the flow."""
        self.refuse_when_read_only()
        flow = await self.read(partial(recorded_flow, name=name))
        form = Form(flow.input_schema)
        self.show_form(name, form, form.typed())

    @authenticated
    async def post(self, name: str) -> None:
        """Request the run, and show its page."""
        self.refuse_when_read_only()
        flow = await self.read(partial(recorded_flow, name=name))
        form, body = Form(flow.input_schema), self.body()
        typed = {**form.received(body), **_OPTIONS.received(body)}
        try:
            inputs, options = _values(form, typed)
            run_id = await self.read(
                partial(_request, name=name, inputs=inputs, options=options, who=self.who)
            )
        except FormInvalid as error:
            problems = error.problems
        except InvalidInput as error:
            problems = form.problems_of(error.message)
        else:
            self.redirect(self.reverse_url("flow-requested", run_id), status=303)
            return
        self.set_status(400)
        self.show_form(name, form, typed, problems)


class RequestedPage(_StartForm):
    """`/flows/requested/<id>`: a request, until its run is there."""

    @authenticated
    async def get(self, text: str) -> None:
        """Show that a worker has to start the run, or why none can; or go to the run."""
        run_id = run_id_of(text)
        is_there, wanted = await self.read(partial(_find, run_id=run_id))
        if is_there:
            self.redirect(self.reverse_url("flow-run", run_id), status=303)
        elif wanted is None:
            raise RunNotFound(
                f"run {run_id} was not started: it was withdrawn, or no worker that knows its "
                "flow was there for a day",
                hint="start it again",
            )
        elif wanted.problem is None:
            self.set_header("Refresh", str(_AGAIN))
            self.show("requested", wanted=wanted)
        else:
            flow = await self.read(partial(recorded_flow, name=wanted.flow_name))
            form = Form(flow.input_schema)
            typed = form.typed(wanted.inputs) if self.shows_content else form.typed()
            explain = form.problems_of if self.shows_content else form.expectations_of
            self.show_form(wanted.flow_name, form, typed, explain(wanted.problem))

    @authenticated
    async def post(self, text: str) -> None:
        """Withdraw the request, unless its run was started meanwhile."""
        self.refuse_when_read_only()
        run_id = run_id_of(text)
        was_there = await self.read(partial(withdraw, run_id=run_id))
        name, argument = ("flows-start", ()) if was_there else ("flow-requested", (run_id,))
        self.redirect(self.reverse_url(name, *argument), status=303)


def _part(form: Form, problems: Mapping[str, str]) -> dict[str, str]:
    """Return the problems of the fields of a form, and of none: those of the inputs."""
    others = {one.name for one in (_OPTIONS if form is not _OPTIONS else form).fields}
    is_own = form is _OPTIONS
    return {name: why for name, why in problems.items() if (name in others) is is_own}


def _values(form: Form, typed: Mapping[str, str]) -> tuple[Any, RequestOptions]:
    """Return the inputs and options that were typed.

    Raises:
        FormInvalid: names the problems of both.
    """
    problems: dict[str, str] = {}
    values: list[Any] = []
    for one in (form, _OPTIONS):
        try:
            values.append(one.value(typed))
        except FormInvalid as error:
            problems |= error.problems
    if problems:
        raise FormInvalid(problems)
    inputs, given = values
    if not isinstance(inputs, Mapping):
        raise FormInvalid({form.place_of(()): 'has to be a JSON object: {"name": …}'})
    delay = None if given["delay"] is None else timedelta(minutes=given["delay"])
    options = RequestOptions(user_id=given["user"], priority=given.get("priority", 0), delay=delay)
    return inputs, options


def _request(
    engine: Engine, name: str, inputs: Mapping[str, Any], options: RequestOptions, who: str | None
) -> RunId:
    with acting(Face.FLOWER, who):
        return request_run(engine, name, inputs, options)


def _find(engine: Engine, run_id: RunId) -> tuple[bool, RequestedRun | None]:
    def read(tx: Transaction) -> tuple[bool, RequestedRun | None]:
        wanted = tx.requested.find(run_id)  # first: it goes when the run comes
        return tx.runs.status(run_id) is not None, wanted

    return engine.records.autocommit(read)
