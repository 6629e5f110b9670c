"""Loads Flower's templates with the Flows tab added, and flowq's own templates.

A name that begins with `flowq/` is a file of this package; every other one is a file of Flower. The
navbar gets one more item, the page of a task a link to its run. If a newer Flower lacks the
expected place, its file is unchanged; the pages still have their addresses.
"""

from pathlib import Path
from typing import Any, Final
from uuid import UUID

import flower
from tornado.template import Loader, Template

from flowq.core.ids import RunId, ids_of_same_moment

#: Where Flower's own templates are.
FLOWERS: Final = Path(flower.__file__).parent / "templates"
_OWN: Final = Path(__file__).parent / "templates"

_NAVBAR: Final = '<ul class="app-nav navbar-nav">\n'
_TAB: Final = """\
        <li class="nav-item">
          <a class="nav-link{% if active_tab == 'flows' %} active{% end %}"
            href="{{ reverse_url('flows') }}"
            {% if active_tab == 'flows' %}aria-current="page"{% end %}>Flows</a>
        </li>
"""

_DETAILS: Final = '<dl class="detail-list">\n'
_RUN: Final = """\
      {% from flowq.entrypoints.flower.templates import run_of_task %}
      {% set flow_run = run_of_task(task) %}
      {% if flow_run %}
      <div class="detail-row task-data-row">
        <dt>Flow run</dt>
        <dd><a href="{{ reverse_url('flow-run', flow_run) }}">{{ flow_run }}</a></dd>
      </div>
      {% end %}
"""

#: From a template to a place in it and the text that is inserted after that.
INSERTED: Final = {"navbar.html": (_NAVBAR, _TAB), "task.html": (_DETAILS, _RUN)}


class FlowsLoader(Loader):
    """Loads Flower's templates, with the additions of flowq, and flowq's own."""

    def __init__(self) -> None:
        super().__init__(str(FLOWERS))

    def resolve_path(self, name: str, parent_path: str | None = None) -> str:  # noqa: ARG002
        """Return the name unchanged: all names are relative to the root."""
        return name

    def _create_template(self, name: str) -> Template:
        folder = _OWN if name.startswith("flowq/") else FLOWERS
        text = (folder / name).read_text(encoding="utf-8")
        if name in INSERTED:
            place, added = INSERTED[name]
            text = text.replace(place, place + added, 1)
        return Template(text, name=name, loader=self)


def run_of_task(task: Any) -> RunId | None:
    """Return the run of a task, by the ids of the task; None for tasks without a run.

    Celery's ids are random; those of a run and its steps are UUIDv7 of the same time.
    """
    try:
        root, own = UUID(str(task.root_id)), UUID(str(task.uuid))
    except (AttributeError, ValueError):
        return None
    first, last = ids_of_same_moment(root)
    is_ours = root.version == own.version == 7 and first <= own <= last
    return RunId(root) if is_ours else None
