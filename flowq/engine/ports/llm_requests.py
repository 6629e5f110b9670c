"""The calls of models: each is one row, written before the call and ended after it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from flowq.core.ids import RunId
from flowq.core.usage import Usage
from flowq.engine.model.model_calls import (
    CostBy,
    CostGroup,
    CostLine,
    EndedRequest,
    RequestView,
    StartedRequest,
)


class LlmRequests(Protocol):
    """The rows of `llm_requests`, within one transaction."""

    def start(self, requests: Sequence[StartedRequest]) -> None:
        """Insert calls that are about to be made.

        Open calls of earlier attempts of the same steps become `lost`.
        """

    def end(self, requests: Sequence[EndedRequest]) -> list[RunId]:
        """End calls, and add their usage to the rows of their steps; each only once.

        Returns:
            Runs in which a step had ended before its call: their totals may be written already.
            Give them to `recompute_totals` in a separate transaction.
        """

    def recompute_totals(self, runs: Sequence[RunId]) -> None:
        """Recompute the totals of runs that have ended."""

    def largest(self, step_name: str | None, model_id: str) -> Usage | None:
        """The largest usage of the last calls of a step and a model, `provider:model`.

        `unpriced` is 1 if the cost of one of them is unknown. None if there was no such call among
        the last few thousand of all.
        """

    def of_run(self, run_id: RunId) -> list[RequestView]:
        """The calls of a run, in their order."""

    def costs(
        self,
        by: CostBy | CostGroup,
        also: CostBy | CostGroup | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        flow_name: str | None = None,
        user_id: str | None = None,
        run_id: RunId | None = None,
        limit: int | None = None,
    ) -> list[CostLine]:
        """Sums over calls, the most expensive group first; by day, the newest first.

        At most `limit` of them.

        With a second group each line is of one name in both.
        """
