"""The form of a signal: fields of the type that the run waits for, checked before it is sent.

A signal that the run does not wait for now has no type: its data is JSON. The name is chosen by a
link, so that the form has the right fields without a script.
"""

from functools import partial
from typing import Any, Final

from tornado.web import authenticated

from flowq.core.errors import FlowqError, InvalidInput, RunNotFound, Unavailable
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints.flower.forms.values import Form, FormInvalid
from flowq.entrypoints.flower.pages.run.actions import ACTIONS, ActionPage, do
from flowq.entrypoints.flower.pages.run.request import read_page, run_id_of

_SIGNAL: Final = ACTIONS["signal"]
#: Of a signal that nothing waits for: any JSON.
_ANY: Final[dict[str, Any]] = {}


class SignalPage(ActionPage):
    """`/flows/<id>/signal`."""

    @authenticated
    async def get(self, run_id: str) -> None:
        """Show the form of a signal: the named one, or the only one that the run waits for."""
        self.refuse_when_read_only()
        page = await self.read(partial(read_page, run_id=run_id_of(run_id)))
        if self.is_refused(page, _SIGNAL):
            return
        name = self.get_argument("name", "", escape=False)
        if not name and len(page.waits) == 1:
            name = page.waits[0].name
        self._show(page, name)

    @authenticated
    async def post(self, run_id: str) -> None:
        """Send the signal, and redirect to the run."""
        self.refuse_when_read_only()
        page = await self.read(partial(read_page, run_id=run_id_of(run_id)))
        name = self.get_body_argument("name", "").strip()
        form = Form(_schema(page, name))
        typed = form.received(self.body())
        try:
            payload = form.value(typed)
            given = {"name": name, "payload": payload}
            await self.read(partial(do, run_id, _SIGNAL, given, self.who))
        except FormInvalid as error:
            self.set_status(400)
            self._show(page, name, typed, error.problems)
        except (RunNotFound, Unavailable):
            raise
        except FlowqError as error:
            self.set_status(400 if isinstance(error, InvalidInput) else 409)
            self._show(page, name, typed, error=error)
        else:
            self.done(run_id, _SIGNAL.name)

    def _show(
        self,
        page: RunPage,
        name: str,
        typed: dict[str, str] | None = None,
        problems: Any = None,
        error: FlowqError | None = None,
    ) -> None:
        form = Form(_schema(page, name))
        self.show(
            "signal",
            run=page.run,
            action=_SIGNAL,
            name=name,
            names=[wait.name for wait in page.waits],
            form=form,
            typed=form.typed() if typed is None else typed,
            problems=problems or {},
            error=error,
            back=self.reverse_url("flow-run", page.run.id),
        )


def _schema(page: RunPage, name: str) -> Any:
    return next((wait.schema for wait in page.waits if wait.name == name), None) or _ANY
