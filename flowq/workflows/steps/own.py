"""The step types that expressions of format 2 need: a value as a step, and columns of a value."""

from collections.abc import Mapping
from typing import Any

from flowq.authoring.definitions.steps import step
from flowq.core.errors import StepError
from flowq.workflows.document.expressions import VALUE
from flowq.workflows.steps import tables
from flowq.workflows.steps.declaring import step_type


@step_type(VALUE, name="Value")
def value(value: Any) -> Any:
    """Return a value as it is."""
    return value


@step(name="flowq.workflow.columns")
def columns(value: Any, names: list[str]) -> Any:
    """Return some columns of a table, of each of several mappings, or of one.

    Raises:
        StepError: the value has no such columns.
    """
    if isinstance(value, Mapping):
        return _picked(value, names)
    if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
        return [_picked(row, names) for row in value]
    return tables.columns(value, names)


def _picked(row: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    missing = [name for name in names if name not in row]
    if missing:
        known = ", ".join(map(str, list(row)[:8]))
        raise StepError(f"no column {missing[0]!r} (it has: {known})")
    return {name: row[name] for name in names}
