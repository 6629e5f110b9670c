"""What a run passes on to its child runs beside user and priority: budgets, labels and its share.

Labels are those parts of the metadata of the outermost run by which costs are grouped: short
scalars, as text. They are copied to each call of a model, so that costs are summed from one table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.core.limits.budgets import BudgetSpec
from flowq.core.limits.queueing import QueueingSpec
from flowq.core.spec import FlowSpec

#: More metadata than this is no label: labels are stored with each call.
_MAX_LABELS: Final = 20
_MAX_LENGTH: Final = 200


@dataclass(frozen=True, slots=True)
class Inherited:
    """What a child run has from its parent, and a continued run from the one before it.

    Attributes:
        charged_to: Meters of the ancestors, whose budgets it spends.
        labels: Those of the outermost run; None for an outermost run.
        share: That of the parent; of a rerun, that of the run before it.
    """

    charged_to: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    share: str | None = None

    def spec(
        self, spec: FlowSpec, budget: BudgetSpec | None, metadata: Mapping[str, Any]
    ) -> FlowSpec:
        """Return the spec of a run with its budgets, labels and share."""
        if self.share is not None:
            rules = spec.queueing or QueueingSpec()
            rules = rules.model_copy(update={"share": self.share})
            spec = spec.model_copy(update={"queueing": rules})
        labels = labels_of(metadata) if self.labels is None else dict(self.labels)
        if budget is None and not self.charged_to and not labels:
            return spec
        facts = {"budget": budget, "charged_to": self.charged_to, "labels": labels}
        return spec.model_copy(update=facts)


NOTHING: Final = Inherited()


def labels_of(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the labels in the metadata of a run: its first short texts, numbers and booleans."""
    found: dict[str, str] = {}
    for key, value in metadata.items():
        if isinstance(value, bool):
            text = str(value).lower()
        elif isinstance(value, str | int | float):
            text = str(value)
        else:
            continue
        if "\0" in key or "\0" in text:
            continue  # PostgreSQL reads no part of a document that has one
        if len(found) < _MAX_LABELS and len(key) <= _MAX_LENGTH and len(text) <= _MAX_LENGTH:
            found[key] = text
    return found
