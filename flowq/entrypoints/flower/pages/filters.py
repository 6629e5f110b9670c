"""Parses the address of the list of runs. Pure.

All filters are in the address, so that a list can be bookmarked and shared, and the form needs no
script. An invalid filter shows an error beside its field, and the list is empty: a list without the
filter would be wrong.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from flowq.core.ids import RunId
from flowq.core.states import OPEN_RUN_STATES, RunState
from flowq.engine.queries.lists import Cursor, RunFilter, RunSort
from flowq.entrypoints.terms import parse_terms

#: The filters of a list, in the order of an address.
FIELDS: Final = ("state", "flow", "user", "text", "within", "from", "to", "children", "sort")
_CURSORS: Final = ("before", "after")
#: All parameters that the address of a list may have.
ARGUMENTS: Final = (*FIELDS, *_CURSORS)
OPEN: Final = "open"
#: Whether a list has child runs; by default it has them with a search or a flow only.
SHOWN, HIDDEN = "shown", "hidden"
#: Runs that need somebody; not a state, but chosen in its place.
ATTENTION: Final = "attention"
STATES: Final = (ATTENTION, OPEN, *RunState)
WITHIN: Final[Mapping[str, timedelta]] = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}
#: The size of the columns.
_MAX_LENGTH: Final = 200
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9999, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parsed query of a list.

    Attributes:
        given: The filters as written in the address.
        problems: From a field to what is wrong with its filter.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    wanted: RunFilter = field(default_factory=RunFilter)
    cursor: Cursor | None = None
    problems: Mapping[str, str] = field(default_factory=dict)

    def address(self, **changes: str | None) -> str:
        """Return the query part of an address with these filters changed, on the first page."""
        more = {name: text for name, text in changes.items() if name not in FIELDS and text}
        return address({**self.given, **changes}, **more)

    def here(self) -> str:
        """Return the query part of the address of this page of the list."""
        at = self.cursor
        return self.address() if at is None else self.page(at.run_id, after=at.is_after)

    def page(self, run_id: UUID, *, after: bool) -> str:
        """Return the query part of the address of a page before, or after, a run."""
        return address(self.given, **{"after" if after else "before": str(run_id)})


def address(filters: Mapping[str, str | None], **more: str) -> str:
    """Return filters as the query part of an address; nothing if there are none."""
    pairs = [(name, filters.get(name) or "") for name in FIELDS]
    query = urlencode([pair for pair in [*pairs, *more.items()] if pair[1]])
    return f"?{query}" if query else ""


def parse(
    arguments: Mapping[str, str],
    now: datetime,
    *,
    shows_content: bool = True,
    labels: Collection[str] = (),
) -> ListQuery:
    """Parse the arguments of an address.

    Args:
        arguments: Its arguments.
        now: The end of "the last hour".
        shows_content: Whether inputs and metadata may be searched.
        labels: Keys of metadata that may be searched all the same.
    """
    given = {name: arguments.get(name, "").strip() for name in FIELDS}
    given = {name: text for name, text in given.items() if text}
    problems: dict[str, str] = {}
    since, until = _times(given, now, problems)
    wanted = RunFilter(
        states=_states(given, problems),
        flow_name=_text(given, "flow", problems),
        user_id=_text(given, "user", problems),
        since=since,
        until=until,
        text=_text(given, "text", problems),
        # A child run that needs somebody is the reason why its parent waits.
        children=_shows_children(given, problems) or given.get("state") == ATTENTION,
        attention=given.get("state") == ATTENTION,
        sort=_sort(given, problems),
    )
    terms = parse_terms(wanted.text or "", shows_content=shows_content, labels=labels)
    if terms.problem is not None:
        problems["text"] = terms.problem
    cursor = _cursor(arguments, problems)
    return ListQuery(given, terms.added_to(wanted), cursor, problems)


def _states(given: Mapping[str, str], problems: dict[str, str]) -> frozenset[RunState]:
    state = given.get("state")
    if state in (None, ATTENTION):
        return frozenset()
    if state == OPEN:
        return OPEN_RUN_STATES
    if state not in STATES:
        problems["state"] = f"There is no state “{state}”. States are: {', '.join(STATES)}."
        return frozenset()
    return frozenset({RunState(state)})


def _shows_children(given: Mapping[str, str], problems: dict[str, str]) -> bool:
    """Return whether to list child runs: one run may have thousands, and would fill pages."""
    default = SHOWN if "text" in given or "flow" in given else HIDDEN
    children = given.get("children", default)
    if children not in (SHOWN, HIDDEN):
        problems["children"] = f"Child runs can be “{SHOWN}” or “{HIDDEN}”, not “{children}”."
    return children == SHOWN


def _sort(given: Mapping[str, str], problems: dict[str, str]) -> RunSort:
    sort = given.get("sort", RunSort.NEWEST)
    if sort not in set(RunSort):
        problems["sort"] = f"There is no order “{sort}”. Orders are: {', '.join(RunSort)}."
        return RunSort.NEWEST
    return RunSort(sort)


def _text(given: Mapping[str, str], name: str, problems: dict[str, str]) -> str | None:
    text = given.get(name)
    if text is not None and len(text) > _MAX_LENGTH:
        problems[name] = f"This text is longer than {_MAX_LENGTH} characters."
    elif text is not None and "\0" in text:
        problems[name] = "This text contains a NUL character, which matches no run."
    return text


def _times(
    given: Mapping[str, str], now: datetime, problems: dict[str, str]
) -> tuple[datetime | None, datetime | None]:
    since, until = _moment(given, "from", problems), _moment(given, "to", problems)
    within = given.get("within")
    if within is not None and within not in WITHIN:
        problems["within"] = (
            f"There is no window of time “{within}”. Windows are: {', '.join(WITHIN)}."
        )
    elif within is not None and (since or until):
        problems["within"] = "Choose either the last hour, day or week, or a start and an end."
    elif within is not None:
        since = now - WITHIN[within]
    if since and until and since >= until:
        problems["to"] = "The end must be after the start."
    return since, until


def _moment(given: Mapping[str, str], name: str, problems: dict[str, str]) -> datetime | None:
    """Parse a time; without an offset it is UTC."""
    text = given.get(name)
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
        moment = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        moment = None
    if moment is None or not _EARLIEST <= moment < _LATEST:
        problems[name] = (
            f"“{text}” is not a time: write it as 2026-01-31 or 2026-01-31T18:00, in UTC."
        )
        return None
    return moment


def _cursor(arguments: Mapping[str, str], problems: dict[str, str]) -> Cursor | None:
    named = [name for name in _CURSORS if arguments.get(name)]
    if not named:
        return None
    name, text = named[0], arguments[named[0]].strip()
    try:
        run_id = RunId(UUID(text)) if len(named) == 1 else None
    except ValueError:
        run_id = None
    if run_id is None:
        problems["page"] = f"“{text}” is not a page of this list: start with the newest runs."
        return None
    return Cursor(run_id, is_after=name == "after")
