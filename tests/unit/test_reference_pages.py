"""The references of steps and flows name each option, so a new one cannot be forgotten."""

import inspect
import re
from pathlib import Path
from typing import get_type_hints

import pytest

from flowq import RetryPolicy, Step, flow, step
from flowq.authoring.definitions.queueing import QueueingOptions

FLOWS = Path(__file__).parents[2] / "docs/flows"


def _parameters(function: object) -> set[str]:
    assert callable(function)
    return set(inspect.signature(function).parameters) - {"self", "function", "queueing"}


def _in_tables(page: str) -> set[str]:
    """Return what is quoted in the first cells of the tables of a page."""
    text = (FLOWS / page).read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


@pytest.mark.parametrize(
    "page, options",
    [
        pytest.param("steps.md", _parameters(type(step).__call__), id="step"),
        pytest.param("steps.md", _parameters(Step.options), id="options"),
        pytest.param("steps.md", set(RetryPolicy.model_fields), id="retry"),
        pytest.param("flows.md", _parameters(flow), id="flow"),
        pytest.param("flows.md", set(get_type_hints(QueueingOptions)), id="queueing"),
    ],
)
def test_page_has_each_option(page: str, options: set[str]) -> None:
    assert len(options) >= 4
    assert options - _in_tables(page) == set()
