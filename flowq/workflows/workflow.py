"""`Workflow`: a workflow with its JSON, read and written.

Format 3 is that of `models`; format 2 is a list of expressions, see `expressions`.
"""

import json
from collections.abc import Mapping
from typing import Any, Self

from flowq.core.text.json_reading import loads
from flowq.core.text.json_values import flaw
from flowq.workflows.checking import check as checked
from flowq.workflows.document.expressions import VALUE, translate
from flowq.workflows.document.models import FORMAT_VERSION, WorkflowForm
from flowq.workflows.document.problems import InvalidWorkflow, Problem
from flowq.workflows.steps.step_types import registry


def _is_data(slug: str, name: str) -> bool:
    """Return whether a step type has a data parameter of a name."""
    known = registry.find(slug)
    return slug == VALUE or (known is not None and name in known.inputs)


class Workflow(WorkflowForm):
    """An ordered list of steps, made by `WorkflowBuilder` or read from JSON."""

    @classmethod
    def from_json(cls, text: str | bytes, *, check: bool = False) -> Self:
        """Read a workflow.

        Args:
            text: Its JSON, of format 3 (that of this class) or 2 (a list of expressions).
            check: Whether to check also that it can run with the registered step types.

        Raises:
            InvalidWorkflow: it is not one, with all problems.
        """
        try:
            data = loads(text)
        except json.JSONDecodeError as error:
            raise InvalidWorkflow([Problem(f"it is not JSON: {error}")]) from None
        return cls.from_dict(data, check=check)

    @classmethod
    def from_dict(cls, data: Any, *, check: bool = False) -> Self:
        """Read a workflow from the data of its JSON; as `from_json`."""
        if not isinstance(data, Mapping):
            kind = type(data).__name__
            raise InvalidWorkflow([Problem(f"it is a JSON {kind}, not an object")])
        version = data.get("format_version", FORMAT_VERSION)
        if version not in (2, FORMAT_VERSION) or isinstance(version, bool):
            text = f"format_version is {version!r}; this flowq reads 2 and {FORMAT_VERSION}"
            raise InvalidWorkflow([Problem(text)])
        wrong = flaw(data)
        if wrong is not None:
            place, why = wrong
            raise InvalidWorkflow([Problem(f"it {why}", ".".join(map(str, place[:8])))])
        found = cls.of(translate(data, _is_data) if version == 2 else data)
        if check:
            checked(found)
        return found

    def to_json(self, *, run: Any = None, indent: int | None = None) -> str:
        """Return the workflow as JSON text.

        Args:
            run: A run of it, or its id; then each step has its `status` and `output_preview`.
            indent: Spaces of each level; None writes one line.

        Raises:
            InvalidWorkflow: a part that was given in Python is not JSON.
        """
        data = self.to_dict()
        if run is not None:
            # Documents are read and written without a database.
            from flowq.workflows.results import WorkflowResult  # noqa: PLC0415

            states = {one.id: one for one in WorkflowResult.of(run).steps}
            for step in data["steps"]:
                one = states.get(step["id"])
                step["status"] = one.status if one else "pending"
                step["output_preview"] = one.preview if one else None
        try:
            return json.dumps(data, indent=indent, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidWorkflow([Problem(f"it cannot be written as JSON: {error}")]) from None
