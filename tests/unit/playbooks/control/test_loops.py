"""N25-N30: items, modes, failures, what a loop makes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.control import PlaybookFailed
from flowq.playbooks.control.events import Failure
from tests.tools.controls.driving import Answer, Drive, playbook

#: An entry that may fire for single items, so that a parallel loop is no map.
PER_ITEM = {"when": "response == 'never'", "then": [{"set": {"ctx": {"a": 1}}}]}
MODES = ("sequential", "parallel", "map")


def looped(
    items: object, answers: Answer, *, mode: str = "sequential", case: Any = (), **loop: Any
) -> Drive:
    """Run a loop. A map is answered as if its items were called one by one."""
    how = "sequential" if mode == "sequential" else "parallel"
    book = playbook(
        {
            "step": "start",
            "loop": {"in": items, "iterator": "n", "mode": how, **loop},
            "args": {"n": "{{ n }}"},
            "case": [*case, PER_ITEM] if mode == "parallel" else [*case],
        }
    )

    def answer(command: Command) -> object:
        assert callable(answers)
        if command.work == "map":
            assert isinstance(command.items, tuple)
            results = list(map(answers, command.items))
            failed = next((one for one in results if isinstance(one, Failure)), None)
            return failed if failed and command.on_error == "fail" else results
        return answers(command.args["n"])

    return Drive(book, {"start": answer})


def double(number: Any) -> object:
    return Failure("odd", type="ValueError") if number == 3 else number * 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "items, results",
    [
        ([1, 2], [2, 4]),
        ([], []),
        (None, []),
        (5, [10]),
        ("ab", ["abab"]),
        ("{{ range(3) }}", [0, 2, 4]),
        ("{{ none }}", []),
    ],
)
def test_items_of_a_loop(items: object, results: list[object], mode: str) -> None:
    """N30: a list has its elements, null has none, all else is one item."""
    stats = {"total": len(results), "success": len(results), "failed": 0}
    assert {"results": results, "stats": stats} == looped(items, double, mode=mode).result


def first_letter(item: Any) -> object:
    return item["a"]


def test_mapping_is_one_item() -> None:
    """N30."""
    drive = looped({"a": 1}, first_letter)

    assert [1] == drive.result["results"]  # type: ignore[index]


@given(st.lists(st.integers(-3, 3), max_size=12), st.sampled_from(["fail", "collect"]))
def test_modes_give_equal_results(items: list[int], on_error: str) -> None:
    """N26, N29."""

    def run(mode: str) -> object:
        drive = looped(items, double, mode=mode, on_error=on_error)
        return drive.control.state.error or drive.result

    assert run("sequential") == run("parallel") == run("map")


def test_no_more_items_are_open_than_allowed() -> None:
    open_items: list[int] = []

    def answer(number: Any) -> object:
        open_items.append(len(drive_of[0].control.state.open))
        return number

    class Watching(Drive):
        def _drive(self, *, last_first: bool) -> None:
            drive_of.append(self)
            super()._drive(last_first=last_first)

    drive_of: list[Drive] = []
    book = playbook(
        {
            "step": "start",
            "loop": {
                "in": list(range(9)),
                "iterator": "n",
                "mode": "parallel",
                "max_concurrency": 3,
            },
            "case": [PER_ITEM],
        }
    )
    drive = Watching(book, {"start": lambda command: answer(command.item)})

    assert [3, 3, 3, 3, 3, 3, 3, 2, 1] == open_items
    assert list(range(9)) == drive.result["results"]  # type: ignore[index]


def test_results_stand_in_the_order_of_items() -> None:
    """N28: whatever ends first."""
    book = playbook(
        {
            "step": "start",
            "loop": {"in": [1, 2, 3], "iterator": "n", "mode": "parallel"},
            "case": [PER_ITEM],
        }
    )
    drive = Drive(book, {"start": lambda command: command.item}, last_first=True)

    assert [2, 1, 0] == [one.item for one in drive.commands]
    assert [0, 1, 2] == drive.result["results"]  # type: ignore[index]


def test_failed_item_fails_the_loop_and_no_other_begins() -> None:
    drive = looped([1, 3, 5], double)

    assert [0, 1] == [one.item for one in drive.commands]
    with pytest.raises(PlaybookFailed, match="ValueError: odd"):
        drive.control.outcome()


@pytest.mark.parametrize("mode", MODES)
def test_failures_can_be_collected(mode: str) -> None:
    drive = looped([3, 1], double, mode=mode, on_error="collect")

    error = {"message": "odd", "type": "ValueError", "status": None}
    stats = {"total": 2, "success": 1, "failed": 1}
    assert {"results": [{"error": error}, 2], "stats": stats} == drive.result


def test_failure_of_an_item_can_be_handled() -> None:
    case = [{"when": "error.type == 'ValueError'", "then": [{"result": -1}]}]
    drive = looped([3, 1], double, case=case)

    stats = {"total": 2, "success": 2, "failed": 0}
    assert {"results": [-1, 2], "stats": stats} == drive.result


@pytest.mark.parametrize("on_error, calls", [("fail", 1), ("collect", 2)])
def test_fail_on_an_item_fails_that_item(on_error: str, calls: int) -> None:
    case = [{"when": "response == 2", "then": [{"fail": {"message": "two"}}]}]
    drive = looped([1, 2], double, case=case, on_error=on_error)

    assert calls == len(drive.commands)
    assert "completed" == drive.control.state.workflow_status


def test_item_can_be_skipped() -> None:
    """N47."""
    case = [{"when": "event.name == 'loop.item' and n == 1", "then": [{"skip": {}}]}]
    drive = looped([1, 2], double, case=case)

    stats = {"total": 2, "success": 1, "failed": 0}
    assert {"results": [None, 4], "stats": stats} == drive.result


def test_many_items_are_skipped_without_recursion() -> None:
    case = [{"when": "event.name == 'loop.item'", "then": [{"skip": {}}]}]
    drive = looped("{{ range(5000) }}", double, case=case)

    assert ([], 5000) == (drive.commands, len(drive.result["results"]))  # type: ignore[index]


def test_many_items_that_cannot_be_called_do_not_recur() -> None:
    book = playbook(
        {
            "step": "start",
            "tool": {"kind": "noop", "a": "{{ nowhere }}"},
            "loop": {"in": "{{ range(3000) }}", "iterator": "n", "on_error": "collect"},
        }
    )

    assert 3000 == Drive(book).result["stats"]["failed"]  # type: ignore[index]


def test_items_page_and_retry_on_their_own() -> None:
    """N29, N40: the item is kept, and has its own counters."""
    case = [
        {"when": "error is defined", "then": [{"retry": {"max_attempts": 2}}]},
        {
            "when": "event.name == 'call.done' and event.page == 1",
            "then": [
                {"collect": {"from": "response", "into": "all"}},
                {"call": {"params": {"of": "{{ n }}"}}},
            ],
        },
    ]
    book = playbook({"step": "start", "loop": {"in": ["a", "b"], "iterator": "n"}, "case": case})
    drive = Drive(book, {"start": [Failure("no"), 1, 2, 3, 4]})

    numbers = [(one.item, one.page, one.attempt) for one in drive.commands]
    assert [(0, 1, 1), (0, 1, 2), (0, 2, 1), (1, 1, 1), (1, 2, 1)] == numbers
    assert [None, {"of": "a"}, None, {"of": "b"}] == [
        one.tool.config.get("params") for one in drive.commands[1:]
    ]
    assert {"all": [1, 3]} == drive.ctx


def test_items_go_on_once_together_or_each_with_its_arguments() -> None:
    """N44 in a loop: when it is done."""
    then = [{"next": [{"step": "once"}, {"step": "each", "args": {"n": "{{ n }}"}}]}]
    case = [{"when": "response is defined", "then": then}]
    book = playbook(
        {"step": "start", "loop": {"in": [1, 2], "iterator": "n"}, "case": case},
        {"step": "once"},
        {"step": "each"},
    )
    drive = Drive(book)

    assert ["start", "start", "once", "each", "each"] == drive.steps()
    assert [1, 2] == [one.args["n"] for one in drive.commands[3:]]


def test_names_of_an_item() -> None:
    """N27."""
    book = playbook(
        {
            "step": "start",
            "loop": {"in": ["a", "b"], "iterator": "letter"},
            "tool": {"kind": "noop", "seen": "{{ [letter, loop_index, loop] }}"},
            "next": [{"step": "after", "args": {"seen": "{{ letter is defined }}"}}],
        },
        {"step": "after"},
    )
    drive = Drive(book)

    def of_loop(index: int, **more: bool) -> dict[str, object]:
        return {"index": index, "length": 2, **more}

    assert [
        ["a", 0, of_loop(0, first=True, done=False)],
        ["b", 1, of_loop(1, first=False, done=True)],
        False,
    ] == [
        *(one.tool.config["seen"] for one in drive.commands[:2]),
        drive.commands[2].args["seen"],
    ]


def test_step_after_a_loop_gets_its_results_unless_it_is_given_others() -> None:
    """N28."""
    given = [{"step": "a"}, {"step": "b", "args": {"loop_results": 1}}]
    book = playbook(
        {"step": "start", "loop": {"in": [1], "iterator": "n"}, "next": given},
        {"step": "a"},
        {"step": "b"},
    )
    drive = Drive(book)

    whole = {"results": [None], "stats": {"total": 1, "success": 1, "failed": 0}}
    assert [whole, 1] == [one.args["loop_results"] for one in drive.commands[1:]]


def test_loop_runs_again_with_a_state_of_its_own() -> None:
    """N30."""
    case = [
        {
            "when": "event.name == 'loop.done' and again is not defined",
            "then": [{"set": {"ctx": {"again": 1}}}, {"next": [{"step": "start"}]}],
        }
    ]
    drive = looped([1, 2], double, case=case)

    assert [0, 1, 0, 1] == [one.item for one in drive.commands]
    assert {"total": 2, "success": 2, "failed": 0} == drive.result["stats"]  # type: ignore[index]
