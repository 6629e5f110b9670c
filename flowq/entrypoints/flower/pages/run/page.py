"""The page of one run: `/flows/<id>`, its tabs, the items of its maps, its inputs and outputs.

Each tab has its own address, so that it can be shared and works without a script. `run_tabs` reads
the data of the tabs; `actions` has the actions on a run.
"""

import json
from functools import partial
from typing import Any, Final

from flower.utils.tasks import get_task_by_id
from tornado.escape import xhtml_escape
from tornado.web import HTTPError, authenticated

from flowq.core.ids import RunId
from flowq.core.references import references
from flowq.core.states import TERMINAL_RUN_STATES, RunState, StepState
from flowq.engine.advance.finish import output
from flowq.engine.engine import Engine
from flowq.engine.queries.children import ChildrenOfRun
from flowq.engine.queries.lists import RootCause
from flowq.engine.queries.run_page import RunPage
from flowq.entrypoints import formatting
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages.run import tabs
from flowq.entrypoints.flower.pages.run.actions import notice_of, offered
from flowq.entrypoints.flower.pages.run.items import items
from flowq.entrypoints.flower.pages.run.request import (
    RunQuery,
    TemplateContext,
    read_page,
    run_id_of,
)
from flowq.entrypoints.flower.pages.run.tabs import Tab
from flowq.entrypoints.flower.pages.run.waits import by_step, in_head, waits_of
from flowq.entrypoints.json_output import json_data

#: The tab that a run's page opens with.
_FIRST: Final = "graph"
#: Maximum size of outputs that are loaded into Flower's memory for a download.
_MAX_BYTES: Final = 64 * 1024 * 1024


class RunPageHandler(PageHandler):
    """The base of the pages of one run."""

    def run_query(self) -> RunQuery:
        """Return the arguments of the address; invalid ones are left out."""
        status = self.get_argument("state", "", escape=False)
        return RunQuery(
            status=StepState(status) if status in set(StepState) else None,
            text=self.get_argument("text", "", escape=False)[:200],
            after=_number(self.get_argument("after", "", escape=False)),
            before=_number(self.get_argument("before", "", escape=False)),
            level=self.get_argument("level", "", escape=False),
            attempt=_number(self.get_argument("attempt", "", escape=False)),
            kind=self.get_argument("kind", "", escape=False)[:20],
            order=self.get_argument("order", "", escape=False)[:20],
            shows_content=self.shows_content,
            link=self.reverse_url,
        )

    def task_of(self, step_id: object) -> str | None:
        """Return the address of Flower's page of a step's task, if Flower knows the task."""
        known = get_task_by_id(self.application.events, str(step_id)) is not None
        return str(self.reverse_url("task", step_id)) if known else None

    def worker_of(self, step_id: object, process: str | None) -> str:
        """Return the worker of a step as a link to Flower's page of it, if Flower knows it.

        Args:
            step_id: Id of the step, which is that of its task.
            process: The host and the id of the process, as they are recorded.
        """
        if process is None:
            return ""
        task = get_task_by_id(self.application.events, str(step_id))
        worker = getattr(task, "worker", None)
        if worker is None:
            return str(xhtml_escape(process))
        href = self.reverse_url("worker", worker.hostname)
        name, title = xhtml_escape(worker.hostname), xhtml_escape(process)
        return f'<a href="{href}" title="{title}">{name}</a>'

    def show_run(self, template: str, page: RunPage, active: str, **values: Any) -> None:
        """Send a page with the head of a run."""
        run = page.run
        is_over = run.status in TERMINAL_RUN_STATES
        self.show(
            template,
            page=page,
            run=run,
            tabs=list(tabs.TABS.values()),
            active=active,
            actions=[] if self.read_only else offered(page),
            notice=notice_of(self, run),
            is_over=is_over,
            live=None if is_over else self.reverse_url("flow-live", run.id),
            task_of=self.task_of,
            worker_of=self.worker_of,
            **{**values, "waits": in_head(values["waits"])},
        )


class RunTab(RunPageHandler):
    """`/flows/<id>` and `/flows/<id>/<tab>`."""

    @authenticated
    async def get(self, text: str, name: str | None = None) -> None:
        """Show a tab of a run's page."""
        tab = tabs.TABS[name or _FIRST]
        asked = self.run_query()
        page, values = await self.read(partial(_tab, run_id_of(text), tab, asked))
        self.show_run(tab.template, page, tab.name, asked=asked, **values)


class ItemsPage(RunPageHandler):
    """`/flows/<id>/steps/<key>`: the items of a map."""

    @authenticated
    async def get(self, text: str, key: str) -> None:
        """Show a page of items; `index` is an item to go to."""
        index = _number(self.get_argument("index", "", escape=False))
        if index is not None:
            after = f"?after={index - 1}" if index else ""
            self.redirect(f"{self.reverse_url('flow-run-items', text, key)}{after}#item-{index}")
            return
        asked = self.run_query()
        page, values = await self.read(partial(_items, run_id_of(text), key, asked))
        self.show_run("run_items", page, "steps", asked=asked, key=key, **values)


class RunContent(RunPageHandler):
    """`/flows/<id>/inputs.json` and `outputs.json`: the whole value, as a file."""

    @authenticated
    async def get(self, text: str, which: str) -> None:
        """Send a file.

        Raises:
            HTTPError: content is not shown, there is none, or it is too large.
        """
        if not self.shows_content:
            raise HTTPError(403, f"the {which} are hidden: FLOWQ_SHOW_CONTENT=1 shows them")
        run_id = run_id_of(text)
        data = await self.read(partial(_content, run_id, which))
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{run_id}-{which}.json"')
        self.finish(data)


def _tab(
    run_id: RunId, tab: Tab, asked: RunQuery, engine: Engine
) -> tuple[RunPage, TemplateContext]:
    page = read_page(engine, run_id)
    values, head = tab.read(engine, page, asked), _head(engine, page)
    return page, {**values, **head, "waits_by": by_step(head["waits"], values.get("steps", ()))}


def _items(
    run_id: RunId, key: str, asked: RunQuery, engine: Engine
) -> tuple[RunPage, TemplateContext]:
    page = read_page(engine, run_id)
    return page, {**items(engine, page, key, asked), **_head(engine, page)}


def _head(engine: Engine, page: RunPage) -> TemplateContext:
    """Read what is above the tabs: what the run waits for, its child runs, its cause in one."""
    run_id, has_children = page.run.id, page.child_count > 0
    tree: ChildrenOfRun | None = None
    cause: RootCause | None = None
    if has_children:
        tree = engine.records.autocommit(lambda tx: tx.overview.child_runs(run_id))
    if has_children and page.run.error:
        causes = engine.records.autocommit(lambda tx: tx.overview.root_causes([run_id]))
        found = causes.get(run_id)
        cause = found if found is not None and found.runs else None
    return {"waits": waits_of(engine, page), "tree": tree, "cause": cause}


def _content(run_id: RunId, which: str, engine: Engine) -> bytes:
    run = read_page(engine, run_id).run
    if which == "inputs":
        value = run.inputs
    elif run.status is not RunState.COMPLETED:
        raise HTTPError(404, f"run {run_id} is {run.status} and has no outputs")
    else:
        value = _outputs(engine, run_id)
    return json.dumps(json_data(value), indent=2, ensure_ascii=False, allow_nan=False).encode()


def _outputs(engine: Engine, run_id: RunId) -> Any:
    definition = engine.definitions.get(run_id).definition
    keys = list({reference.step for reference in references(definition.spec.output)})
    size = engine.records.autocommit(lambda tx: tx.overview.result_bytes(run_id, keys))
    if size > _MAX_BYTES:
        raise HTTPError(
            413,
            f"the outputs are {formatting.size(size)} large: flowq runs result {run_id} > file",
        )
    return output(engine, definition)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None
