"""The critical path of known runs."""

import pytest

from flowq.core.spec import StepKind
from flowq.core.states import RunState, StepState
from flowq.engine.queries.graph import RunPicture
from flowq.entrypoints.flower.pictures.critical_path import critical_path, ready_times
from tests.unit.entrypoints.flower.pictures.picturing import at, node, past, run

DIAMOND = ("a>b", "a>c", "b>d", "c>d")
RUNNING, PROGRAM = RunState.RUNNING, StepKind.PROGRAM

CASES: dict[str, tuple[RunPicture, str]] = {
    "the slower side": (
        run([node("a", 0, 1), node("b", 1, 2), node("c", 1, 5), node("d", 5, 6)], DIAMOND),
        "acd",
    ),
    "a short step that waited long": (
        run([node("a", 0, 1), node("b", 8, 9), node("c", 1, 5), node("d", 9, 10)], DIAMOND),
        "abd",
    ),
    "what is running ends now": (
        run(
            [
                node("a", 0, 1),
                node("b", 1, None, StepState.RUNNING),
                node("c", 1, 5),
                node("d", status=StepState.PENDING),
            ],
            DIAMOND,
            RUNNING,
        ),
        "ab",
    ),
    "a skipped step took no time": (
        run(
            [
                node("a", 0, 1),
                node("b", None, 7, StepState.SKIPPED),
                node("c", 1, 5),
                node("d", 7, 8),
            ],
            DIAMOND,
        ),
        "acd",
    ),
    "a side that nothing waited for": (
        run([node("a", 0, 1), node("b", 1, 3), node("c", 1, 9)], ("a>b", "a>c")),
        "ac",
    ),
    "cancelled before it began": (
        run([node("a", 0, 4), node("b", None, 4, StepState.CANCELLED)], ("a>b",)),
        "a",
    ),
    "cancelled between two attempts": (
        run(
            [
                node("a", 0, 1),
                node("b", 1, 4, StepState.CANCELLED, past=(past(1, 1, 2),)),
            ],
            ("a>b",),
        ),
        "ab",
    ),
    "calls of a program": (
        run(
            [
                node("a", 0.1, 1, order=2),
                node("b", 1.2, 2, created=1.1, order=3),
                node("c", 1.2, 4, created=1.1, order=4),
                node("d", 4.2, 5, created=4.1, order=5),
            ],
            program=node("p", 0, 5, kind=PROGRAM),
        ),
        "acd",
    ),
    "a timer of a program": (
        run(
            [
                node("a", 0.1, 1, order=2),
                node("t", None, 8, created=1, kind=StepKind.TIMER, order=3),
            ],
            program=node("p", 0, 8, kind=PROGRAM),
        ),
        "at",
    ),
    "calls by name tell nothing": (
        run(
            [node("a", 0, 1, size=9)],
            program=node("p", 0, 5, kind=PROGRAM),
            is_collapsed=True,
        ),
        "",
    ),
    "nothing has begun": (run([node("a", status=StepState.QUEUED)], (), RUNNING), "a"),
    "no steps": (run([]), ""),
}


@pytest.mark.parametrize("case", CASES)
def test_critical_path(case: str) -> None:
    picture, expected = CASES[case]

    assert "".join(critical_path(picture, at(10))) == expected


def test_step_is_ready_when_the_last_before_it_has_ended() -> None:
    picture = run(
        [
            node("a", 0, 1),
            node("b", 1, 2),
            node("c", 1, None, StepState.RUNNING),
            node("d", status=StepState.PENDING),
            node("e", 2.5, 3),
        ],
        (*DIAMOND, "a>e", "b>e"),
        RUNNING,
    )

    assert ready_times(picture) == {"a": at(0), "b": at(1), "c": at(1), "e": at(2)}
