"""Child runs that continue as new.

The id of a child run has the time of its parent's, so the child runs of a run are a range of the
primary key. A continuation has a time of its own, and takes the parent: the runs before it have
none. So it is found from the first run of its chain, which is in the range.
"""

from collections.abc import Collection
from typing import Any, Final
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, or_, select

from flowq.adapters.records.sql.repository import RUNS
from flowq.core.ids import ids_of_same_moment

_R: Final = RUNS.c


def near(run_ids: Collection[UUID]) -> ColumnElement[bool]:
    """Return the condition of runs of the moments of runs, among them all of their child runs.

    Args:
        run_ids: Not more than a few hundred; SQLite joins 1,000 conditions.
    """
    spans = dict.fromkeys(ids_of_same_moment(run_id) for run_id in run_ids)
    return or_(*(_R.id.between(*span) for span in spans))


def chains(run_ids: Collection[UUID]) -> CTE:
    """Return the chains of runs near runs that have continued, from `first` on.

    Args:
        run_ids: Not more than a few hundred. Their own chains are left out, as no child runs.
    """
    begun = select(_R.id.label("first"), _R.id, _R.continued_as).where(
        near(run_ids), _R.continued_as.is_not(None), _R.id.not_in(run_ids)
    )
    found = begun.cte("chains", recursive=True)
    following = select(found.c.first, _R.id, _R.continued_as)
    return found.union_all(following.join(found, _R.id == found.c.continued_as))


def last_of(found: CTE) -> Any:
    """Return the query of the ids of the last runs of chains: these have the parent."""
    return select(found.c.id).where(found.c.continued_as.is_(None))
