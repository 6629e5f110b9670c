"""What is kept of an exception names its causes and the members of groups, within bounds."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.errors import StepError
from flowq.engine.runtime.causes import error_details

_MAX_CHARACTERS = 8001


def raised(make: Callable[[], Any]) -> BaseException:
    """Return what a function raises."""
    try:
        made = make()
    except BaseException as error:  # noqa: BLE001 - that is what is asked for
        return error
    assert isinstance(made, BaseException)
    return made


def explicit() -> None:
    try:
        int("api_key")
    except ValueError as error:
        raise RuntimeError("cannot load") from error


def implicit() -> None:
    try:
        int("api_key")
    except ValueError:
        raise RuntimeError("cannot load")  # noqa: B904


def suppressed() -> None:
    try:
        int("api_key")
    except ValueError:
        raise RuntimeError("cannot load") from None


def named(found: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(one["relation"], one["error_type"], one["message"]) for one in found.get("causes", [])]


@pytest.mark.parametrize(
    "make, relation, link",
    [
        (explicit, "cause", "The above exception was the direct cause of"),
        (implicit, "context", "During handling of the above exception"),
    ],
)
def test_cause_comes_before_what_was_raised_from_it(
    make: Callable[[], None], relation: str, link: str
) -> None:
    found = error_details(raised(make))

    text = found["traceback"]
    assert (
        text.index("ValueError: invalid literal")
        < text.index(link)
        < text.index("RuntimeError: cannot")
    )
    assert 'int("api_key")' in text
    assert "raise RuntimeError" in text
    assert [(relation, "ValueError", "invalid literal for int() with base 10: 'api_key'")] == named(
        found
    )
    assert found["causes"][0]["place"].endswith(f", in {make.__name__}")


def test_suppressed_context_is_left_out() -> None:
    found = error_details(raised(suppressed))

    assert "ValueError" not in found["traceback"]
    assert "causes" not in found


async def failing_io(number: int) -> None:
    raise OSError(number)


def test_members_of_a_task_group_are_shown_with_their_own_causes_and_frames() -> None:
    async def bad(number: int) -> None:
        try:
            await failing_io(number)
        except OSError as error:
            raise ValueError(number) from error

    async def all_of_them() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(bad(1))
            group.create_task(bad(2))

    found = error_details(raised(lambda: asyncio.run(all_of_them())))

    text = found["traceback"]
    assert all(f"ValueError: {number}" in text for number in (1, 2))
    assert all(f"OSError: {number}" in text for number in (1, 2))
    assert text.count("raise ValueError(number) from error") == 2
    assert named(found) == [
        ("member", "ValueError", "1"),
        ("cause", "OSError", "1"),
        ("member", "ValueError", "2"),
        ("cause", "OSError", "2"),
    ]
    assert [one["place"].rpartition(", in ")[2] for one in found["causes"]] == [
        *("bad", "failing_io", "bad", "failing_io")
    ]


def test_nested_groups_and_groups_that_are_causes_are_shown() -> None:
    inner = ExceptionGroup("inner", [ValueError("deep"), TypeError("deeper")])
    outer = ExceptionGroup("outer", [inner, KeyError("flat")])
    error = RuntimeError("top")
    error.__cause__ = outer

    found = error_details(error)

    words = (
        "top",
        "outer (2 sub-exceptions)",
        "inner (2 sub-exceptions)",
        "deep",
        "deeper",
        "flat",
    )
    assert all(word in found["traceback"] for word in words)
    assert [kind for _, kind, _ in named(found)] == [
        *("ExceptionGroup", "ExceptionGroup", "ValueError", "TypeError", "KeyError")
    ]


def chain(length: int) -> BaseException:
    first: BaseException = ValueError("root")
    for number in range(length):
        one = RuntimeError(f"link {number}")
        one.__cause__ = first
        first = one
    return first


def nested(depth: int) -> BaseException:
    one: Exception = ValueError("innermost")
    for number in range(depth):
        one = ExceptionGroup(f"level {number}", [one])
    return one


def circle() -> BaseException:
    one, other = ValueError("one"), TypeError("other")
    one.__cause__, other.__cause__ = other, one
    return one


def circle_through_a_group() -> BaseException:
    member = ValueError("member")
    group = ExceptionGroup("group", [member])
    member.__cause__ = group
    return group


def own_cause() -> BaseException:
    one = ValueError("itself")
    one.__cause__ = one
    return one


def shared() -> BaseException:
    cause = OSError("disk")
    members = []
    for number in range(10_000):
        member = ValueError(number)
        member.__cause__ = cause
        members.append(member)
    return ExceptionGroup("many", members)


def recursion(depth: int = 0) -> None:
    if depth > 500:
        raise ValueError("deep")
    recursion(depth + 1)


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


class Unreadable(Exception):
    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("no cause")


def broken_cause() -> BaseException:
    error = ValueError("top")
    error.__cause__ = Broken()
    return error


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: chain(10_000), ["link 9999", "root", "9,990 exceptions between them"]),
        (lambda: nested(300), ["level 299", "level 292", "and 1 more"]),
        (lambda: nested(5_000), ["level 4999"]),
        (circle, ["one", "other"]),
        (circle_through_a_group, ["group", "member"]),
        (own_cause, ["itself"]),
        (shared, ["many (10000 sub-exceptions)", "disk", "and 9,985 more"]),
        (lambda: ValueError("x" * 50_000_000), ["ValueError: xxx"]),
        (lambda: ExceptionGroup("x" * 9_000, [ValueError("y" * 9_000)] * 20), ["ValueError: yyy"]),
        (recursion, ["deep", "frames are left out", "in recursion"]),
        (broken_cause, ["top", "Broken: its text cannot be read"]),
        (Unreadable, ["its traceback cannot be read: RuntimeError was raised"]),
        (lambda: ValueError("half \ud800 of a pair"), ["half \\ud800 of a pair"]),
    ],
)
def test_size_is_bounded_whatever_an_exception_is(
    make: Callable[[], Any], words: list[str]
) -> None:
    error = raised(make)
    began = time.process_time()

    found = error_details(error)

    assert time.process_time() - began < 5
    assert len(found["traceback"]) <= _MAX_CHARACTERS
    assert len(json.dumps(found)) < 20_000
    assert all(word in found["traceback"] for word in words)
    found["traceback"].encode()


def test_root_of_a_long_chain_is_named_last() -> None:
    causes = named(error_details(chain(5_000)))

    assert causes[0] == ("cause", "RuntimeError", "link 4998")
    assert causes[-1] == ("cause", "ValueError", "root")
    assert len(causes) <= 8


def test_hints_and_notes_are_shown() -> None:
    error = StepError("it is wrong", hint="mend it")
    error.add_note("of order 7")

    text = error_details(error)["traceback"]

    assert "flowq.core.errors.StepError: it is wrong\n  → mend it\nof order 7" in text


@st.composite
def trees(draw: st.DrawFn, depth: int = 3) -> tuple[BaseException, list[str]]:
    """Draw an exception and the texts of all that belong to it."""
    text = f"<{draw(st.uuids())}>"
    texts = [text]
    if depth and draw(st.booleans()):
        members = draw(st.lists(trees(depth=depth - 1), min_size=1, max_size=2))
        error: BaseException = BaseExceptionGroup(text, [member for member, _ in members])
        texts += [one for _, found in members for one in found]
    else:
        error = ValueError(text)
    if depth and draw(st.booleans()):
        cause, below = draw(trees(depth=depth - 1))
        if draw(st.booleans()):
            error.__cause__ = cause
        else:
            error.__context__ = cause
        texts += below
    return error, texts


@given(trees())
def test_every_exception_of_a_small_tree_is_shown_once(
    tree: tuple[BaseException, list[str]],
) -> None:
    error, texts = tree

    found = error_details(error)

    if len(texts) <= 20:
        assert all(found["traceback"].count(text) == 1 for text in texts)
    if 2 <= len(texts) <= 8:
        assert {one["message"].partition(">")[0] + ">" for one in found["causes"]} == set(texts[1:])
