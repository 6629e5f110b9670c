"""What `flowq runs rerun` refuses before it reads anything, and how it shows a preview."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner

from flowq.core.ids import RunId, earliest_id
from flowq.core.rerun import Why
from flowq.core.states import StepState
from flowq.engine.runs.reruns import PlannedStep, RerunPreview
from flowq.entrypoints.cli.commands.runs.rerun import rerun
from flowq.entrypoints.cli.display.reruns import preview_json, reason
from flowq.entrypoints.cli.options import SPAN


@pytest.mark.parametrize(
    "arguments, says",
    [
        ([], "give ids of runs, or a filter"),
        (["01a2", "--flow", "f"], "give ids of runs, or a filter"),
        (["--flow", "f", "--since", "soon"], "is no length of time"),
        (["01a2", "-p", "x"], "is not NAME=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_refused(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(rerun, arguments)
    assert result.exit_code == 2
    assert says in result.output


def test_times_are_numbers_with_a_unit() -> None:
    assert SPAN.convert("30m", None, None) == timedelta(minutes=30)
    assert SPAN.convert("2h", None, None) == timedelta(hours=2)
    for wrong in ("", "2", "h", "-1h", "2 h", "9999999d", "999999d"):
        with pytest.raises(click.BadParameter):
            SPAN.convert(wrong, None, None)
    for longest in ("99999d", "99999w"):
        earliest_id(datetime.now(UTC) - SPAN.convert(longest, None, None))


def test_preview_says_why_each_step_runs() -> None:
    steps = (
        PlannedStep("a", "s", None, state=StepState.COMPLETED, tokens=5, cost=Decimal(2)),
        PlannedStep("m", "s", Why.OPEN, items=3, state=StepState.FAILED, cost=Decimal(1)),
        PlannedStep("z", "s", Why.NEW),
    )
    preview = RerunPreview(RunId(uuid4()), "f", steps, ("A note.",))
    assert (preview.saved_cost, preview.saved_tokens, preview.first_cost) == (
        Decimal(2),
        5,
        Decimal(1),
    )
    assert reason(steps[0]) == ""
    assert "3 completed items" in reason(steps[1])
    data = preview_json(preview)
    assert [(one["key"], one["reused"], one["why"]) for one in data["steps"]] == [
        ("a", True, None),
        ("m", False, "open"),
        ("z", False, "new"),
    ]
