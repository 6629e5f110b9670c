"""Two runs compared: `/flows/compare?id=…&id=…`, what ran longer, what differs, what it cost.

Steps are matched by their keys; a map is one row with its items counted. The step whose time
differs most comes first, since that is what one looks for. Inputs are compared place by place, and
only shown with FLOWQ_SHOW_CONTENT.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import Any, Final

from tornado.web import authenticated

from flowq.core.errors import InvalidInput
from flowq.core.ids import RunId
from flowq.engine.engine import Engine
from flowq.engine.model.rows import RunView, StepView
from flowq.entrypoints.flower.page import PageHandler
from flowq.entrypoints.flower.pages.run.request import read_page, run_id_of

#: Steps of each run, and places in inputs that differ, which are shown.
_MAX_STEPS: Final = 1_000
_MAX_DIFFERENCES: Final = 100
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class StepPair:
    """A step in both runs; None in the run that has no such step.

    Attributes:
        reused: In which of the runs, 1 or 2, a rerun has its result from another run.
    """

    key: str
    left: StepView | None
    right: StepView | None
    reused: frozenset[int] = frozenset()

    @property
    def longer(self) -> timedelta:
        """How much longer it took in the second run; negative if it was faster there.

        Zero if that cannot be said: it has not ended, or did not run, in one of them.
        """
        both = [one for one in (self.left, self.right) if one is not None]
        if self.reused or any(None in (one.started_at, one.completed_at) for one in both):
            return timedelta(0)
        return _took(self.right) - _took(self.left)

    @property
    def costlier(self) -> Decimal:
        """How much more it has cost in the second run."""
        none = Decimal(0)
        costs = [none if step is None else step.cost for step in (self.right, self.left)]
        return costs[0] - costs[1]

    @property
    def differs(self) -> bool:
        """Whether it is in one run only, or ended otherwise, or in another number of attempts."""
        if self.reused:
            return False
        if self.left is None or self.right is None:
            return True
        facts = [(one.status, one.attempts, one.total) for one in (self.left, self.right)]
        return facts[0] != facts[1]


@dataclass(frozen=True, slots=True)
class Difference:
    """A place in which two values differ; None stands for a value that is not there."""

    place: str
    left: Any
    right: Any
    is_in_left: bool
    is_in_right: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The data of the page.

    Attributes:
        is_cut: Whether one of them has more steps than were read.
    """

    left: RunView
    right: RunView
    pairs: Sequence[StepPair]
    differences: Sequence[Difference]
    is_cut: bool


class ComparePage(PageHandler):
    """`/flows/compare`."""

    @authenticated
    async def get(self) -> None:
        """Compare two runs."""
        ids = [run_id_of(text) for text in dict.fromkeys(self.get_query_arguments("id"))]
        if len(ids) != 2:
            raise InvalidInput(
                f"a comparison needs two runs, not {len(ids)}", hint="tick two runs in the list"
            )
        found = await self.read(partial(_compared, first=min(ids), second=max(ids)))
        self.show("compare", found=found, both=(found.left, found.right))


def pairs(
    left: Sequence[StepView], right: Sequence[StepView], *, reruns: Collection[int] = ()
) -> list[StepPair]:
    """Match the steps of two runs; the one whose time differs most is the first.

    Args:
        reruns: Which of the runs, 1 or 2, are reruns.
    """
    of_left, of_right = ({step.key: step for step in steps} for steps in (left, right))
    found = []
    for key in dict.fromkeys([*of_left, *of_right]):
        both = of_left.get(key), of_right.get(key)
        reused = frozenset(
            number
            for number, step in enumerate(both, start=1)
            if number in reruns and step is not None and step.hits and not step.attempts
        )
        found.append(StepPair(key, *both, reused))
    return sorted(found, key=lambda pair: -abs(pair.longer))


def differences(left: Any, right: Any, place: str = "") -> Iterator[Difference]:
    """Yield the places in which two JSON values differ, the outermost ones."""
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        for key in dict.fromkeys([*left, *right]):
            inner = f"{place}.{key}" if place else str(key)
            yield from differences(left.get(key, _ABSENT), right.get(key, _ABSENT), inner)
    elif isinstance(left, list) and isinstance(right, list):
        for index in range(max(len(left), len(right))):
            one, other = (side[index] if index < len(side) else _ABSENT for side in (left, right))
            yield from differences(one, other, f"{place}[{index}]")
    elif type(left) is not type(right) or left != right:
        has_left, has_right = left is not _ABSENT, right is not _ABSENT
        shown = left if has_left else None, right if has_right else None
        yield Difference(place, shown[0], shown[1], has_left, has_right)


def _took(step: StepView | None) -> timedelta:
    if step is None or step.started_at is None or step.completed_at is None:
        return timedelta(0)
    return step.completed_at - step.started_at


def _compared(engine: Engine, first: RunId, second: RunId) -> Comparison:
    left, right = read_page(engine, first).run, read_page(engine, second).run
    steps = [_steps(engine, run_id) for run_id in (first, second)]
    found = differences(left.inputs, right.inputs)
    return Comparison(
        left=left,
        right=right,
        pairs=pairs(
            steps[0][:_MAX_STEPS],
            steps[1][:_MAX_STEPS],
            reruns=[number for number, run in ((1, left), (2, right)) if run.rerun_of is not None],
        ),
        differences=list(islice(found, _MAX_DIFFERENCES)),
        is_cut=any(len(one) > _MAX_STEPS for one in steps),
    )


def _steps(engine: Engine, run_id: RunId) -> list[StepView]:
    return engine.records.autocommit(lambda tx: tx.overview.steps(run_id, limit=_MAX_STEPS + 1))
