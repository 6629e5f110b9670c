"""What `flowq runs rerun` refuses before it reads anything, and how it shows a preview."""

import importlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner

from flowq.core.ids import RunId, earliest_id
from flowq.core.rerun import Why
from flowq.engine.model.reruns import PlannedItems, PlannedStep, RerunPreview
from flowq.entrypoints.cli.app import apps
from flowq.entrypoints.cli.commands.runs.rerun import rerun
from flowq.entrypoints.cli.display.reruns import preview_json
from flowq.entrypoints.cli.options import SPAN
from flowq.entrypoints.rerun_reasons import reason, totals, what_happens


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


def test_app_in_the_file_of_the_flow_sends_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from flowq import flow\napp = object()\n@flow\ndef empty() -> int:\n    return 1\n"
    (tmp_path / "shop_of_reruns.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(apps, "app_in", lambda module, _: asked.append(module.__name__))
    # No run is chosen, so nothing is read from a database.
    monkeypatch.setattr(importlib.import_module(rerun.callback.__module__), "chosen", nothing)
    for named in (None, "other"):
        monkeypatch.setattr(apps, "named", lambda named=named: named)
        assert CliRunner().invoke(rerun, ["01a2", "--code", "shop_of_reruns.py"]).output == ""
    assert asked == ["shop_of_reruns"]


def nothing(*_: object, **__: object) -> None:
    """Choose no run."""


def test_times_are_numbers_with_a_unit() -> None:
    assert SPAN.convert("30m", None, None) == timedelta(minutes=30)
    assert SPAN.convert("2h", None, None) == timedelta(hours=2)
    for wrong in ("", "2", "h", "-1h", "2 h", "9999999d", "999999d"):
        with pytest.raises(click.BadParameter):
            SPAN.convert(wrong, None, None)
    for longest in ("99999d", "99999w"):
        earliest_id(datetime.now(UTC) - SPAN.convert(longest, None, None))


def test_calls_that_may_be_reused_are_counted_as_a_span() -> None:
    steps = [PlannedStep(f"call#{number}", "s", Why.COMPARED) for number in range(3)]
    steps.append(PlannedStep("last#4", "s", Why.OPEN))
    preview = RerunPreview(RunId(uuid4()), "f", tuple(steps))
    assert totals(preview) == ("0 to 3 steps", "1 to 4 steps")
    assert [what_happens(step) for step in steps] == ["may run", "may run", "may run", "runs"]


def test_preview_says_why_each_step_runs() -> None:
    steps = (
        PlannedStep(
            "a", "s", None, tokens=5, cost=Decimal(2), saved_tokens=5, saved_cost=Decimal(2)
        ),
        PlannedStep("m", "s", Why.OPEN, PlannedItems((0, 2, 3), (), (1,)), cost=Decimal(1)),
        PlannedStep("y", "s", Why.DEPENDS, PlannedItems((), (0,), tuple(range(1, 9)))),
        PlannedStep("x", "s", Why.CHANGED, PlannedItems((), (), (0,), ("model",))),
        PlannedStep("z", "s", Why.NEW),
    )
    preview = RerunPreview(RunId(uuid4()), "f", steps, ("A note.",))
    assert (preview.saved_cost, preview.saved_tokens, preview.first_cost) == (
        Decimal(2),
        5,
        Decimal(1),
    )
    assert [reason(one) for one in steps] == [
        "",
        "it has not completed; 3 items reused; 1 item runs: [1]",
        (
            "a step before it runs; 1 completed item reused if its inputs are the same; "
            "8 items run: [1], [2], [3], [4], [5] and 3 more"
        ),
        "the step or its inputs are others; no item is reused: the shared input 'model' differs",
        "the run has no such step",
    ]
    assert totals(preview) == (
        "1 step and 3 items of maps that run",
        "4 steps with 10 items that the earlier run has",
    )
    data = preview_json(preview)
    assert [(one["key"], one["reused"], one["why"]) for one in data["steps"]] == [
        ("a", True, None),
        ("m", False, "open"),
        ("y", False, "depends"),
        ("x", False, "changed"),
        ("z", False, "new"),
    ]
