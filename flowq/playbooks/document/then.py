"""`ThenBlock`: the actions of an entry of `case` as a model with the seed's fields.

For programs that make or read entries as objects. A document that is read has `Action` values in
place of it; `actions` gives the same ones.
"""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from flowq.playbooks.document.actions import ORDER, Action, Json, action
from flowq.playbooks.document.grammar.actions import THEN
from flowq.playbooks.document.problems import NOWHERE, InvalidPlaybook
from flowq.playbooks.document.report import Report
from flowq.playbooks.document.sugar import plain_actions


class ThenBlock(BaseModel):
    """What is done when a condition holds: one field for each action, at least one of them.

    Fields are in the order in which the actions run. Each has the forms that it has in a document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    set: dict[str, Json] | list[dict[str, Json]] | None = None
    collect: dict[str, Json] | None = None
    result: Json = None
    call: dict[str, Json] | None = None
    retry: dict[str, Json] | bool | int | None = None
    sink: dict[str, Json] | None = None
    next: str | dict[str, Json] | list[str | dict[str, Json]] | None = None
    fail: dict[str, Json] | str | None = None
    skip: dict[str, Json] | bool | str | None = None

    @model_validator(mode="after")
    def _is_checked(self) -> Self:
        data = self.plain()
        report = Report(data, NOWHERE)
        THEN.check(data, (), report)
        if report.problems:
            raise InvalidPlaybook(report.problems)
        return self

    def plain(self) -> dict[str, Any]:
        """Return the mapping that a document has: the fields that were given, in their order."""
        return {name: getattr(self, name) for name in ORDER if name in self.model_fields_set}

    def actions(self, kind: str = "http") -> tuple[Action, ...]:
        """Return the actions in the order in which they run.

        Args:
            kind: The kind of the step's tool, by which fields of `call` and `retry` are named.
        """
        plain = plain_actions(self.plain(), kind)
        return tuple(action(*next(iter(one.items()))) for one in plain)
