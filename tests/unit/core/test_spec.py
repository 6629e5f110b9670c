"""Specs: values that survive JSON, and tolerances."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from flowq.core.retries import RetryPolicy
from flowq.core.spec import FailurePolicy, FlowSpec, MapSpec, StepKind, StepSpec, Tolerance

SPEC = FlowSpec(
    name="shop",
    steps=(
        StepSpec(key="a", name="m.a", arguments={"x": [{"$ref": "b", "path": ["c", 0]}]}),
        StepSpec(
            key="b",
            name="m.b",
            kind=StepKind.FLOW,
            map=MapSpec(parameter="x", items=[1], tolerance=Tolerance(percent=2.5)),
            when=False,
            after=("a",),
            accept_skipped=True,
            allow_failure=True,
            retry=RetryPolicy(max_attempts=3, retry_on=("OSError",)),
            timeout=timedelta(seconds=1.5),
            queue="slow",
        ),
    ),
    output={"a": {"$ref": "a"}},
    on_failure=FailurePolicy.CONTINUE,
)


def test_spec_survives_json() -> None:
    """What is stored with a run is read back as the same value."""
    assert SPEC == FlowSpec.model_validate(SPEC.to_json())
    assert SPEC == FlowSpec.model_validate_json(SPEC.model_dump_json())


def test_stored_spec_leaves_defaults_out() -> None:
    """A flow of ten thousand plain steps stays small."""
    plain = FlowSpec(name="shop", steps=(StepSpec(key="a", name="m.a"),))

    assert {"name": "shop", "steps": [{"key": "a", "name": "m.a"}]} == plain.to_json()


def test_steps_are_found_by_key() -> None:
    """An unknown key is an error, not None."""
    assert SPEC.steps[1] is SPEC.step("b")
    with pytest.raises(KeyError):
        SPEC.step("c")


def test_specs_cannot_change() -> None:
    """A run goes on with what it began with; a misspelt field is no field."""
    with pytest.raises(ValidationError, match="frozen"):
        SPEC.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs"):
        StepSpec.model_validate({"key": "a", "name": "m.a", "retrys": 1})


@pytest.mark.parametrize(
    "text, tolerance",
    [
        (None, Tolerance()),
        (3, Tolerance(count=3)),
        ("3", Tolerance(count=3)),
        (" 5% ", Tolerance(percent=5)),
        ("0.5%", Tolerance(percent=0.5)),
    ],
)
def test_tolerance_is_read(text: int | str | None, tolerance: Tolerance) -> None:
    """A number of items, or a share."""
    assert tolerance == Tolerance.parse(text)


@pytest.mark.parametrize("text", ["", "many", "%", "101%", "-1", -1, "1.5"])
def test_other_tolerances_are_refused(text: int | str) -> None:
    """Neither half an item nor more than all."""
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's and int's messages differ
        Tolerance.parse(text)


@pytest.mark.parametrize(
    "tolerance, total, most",
    [
        (Tolerance(), 10, 0),
        (Tolerance(count=2), 10, 2),
        (Tolerance(count=20), 10, 10),
        (Tolerance(percent=5), 100, 5),
        (Tolerance(percent=5), 19, 0),
        (Tolerance(percent=5), 20, 1),
        (Tolerance(percent=100), 3, 3),
        (Tolerance(percent=33.3), 3, 0),
        (Tolerance(percent=50), 0, 0),
    ],
)
def test_tolerance_allows_so_many(tolerance: Tolerance, total: int, most: int) -> None:
    """At most that share, never a part of an item more."""
    allowed = [
        failed for failed in range(total + 1) if tolerance.allows(failed=failed, total=total)
    ]

    assert list(range(most + 1)) == allowed
