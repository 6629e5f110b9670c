"""The parsed address of a page of a run; what its tabs return."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.core.states import StepState
from flowq.engine.engine import Engine
from flowq.engine.queries.run_page import RunPage

#: The variables of the template of a tab.
TemplateContext = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunQuery:
    """The arguments of the address of a page."""

    status: StepState | None = None
    text: str = ""
    after: int | None = None
    before: int | None = None
    level: str = ""
    attempt: int | None = None
    kind: str = ""  #: Which events,
    order: str = ""  #: and `oldest` for the oldest first.
    shows_content: bool = False
    link: Callable[..., str | None] = lambda *_: None  #: From the name of a rule to an address.


def run_id_of(text: str) -> RunId:
    """Return the id in an address.

    Raises:
        RunNotFound: it is not the id of a run.
    """
    try:
        return RunId(UUID(text))
    except ValueError:
        raise RunNotFound(f"{text} is not the id of a run", hint="open the list of flows") from None


def read_page(engine: Engine, run_id: RunId) -> RunPage:
    """Read the head of a run's page.

    Raises:
        RunNotFound: there is no such run.
    """
    page = engine.records.autocommit(lambda tx: tx.overview.run_page(run_id))
    if page is None:
        raise RunNotFound(
            f"there is no run {run_id}", hint="the run may have been deleted; see: flowq runs ls"
        )
    return page
