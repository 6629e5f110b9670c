"""What a page shows is compared with what a command prints."""

import pytest

from tests.tools.docs.output import Names, difference

ID, OTHER = "01a22bce-33b8-75af-afe1-356a363319d9", "01a22bce-4bf9-73c9-b439-cbd45e1c51a3"


def other_of(real: str) -> str:
    """Return an id of another minute."""
    return f"01a33333-{real[9:]}"


def is_same(page: str, out: str, err: str = "", *, beginning: bool = False) -> bool:
    names = Names()
    return difference(page.splitlines(), out, err, names, beginning=beginning) is None


@pytest.mark.parametrize(
    "page, out",
    [
        ("one\ntwo", "one\ntwo\n"),
        ("one  ", "one\n\n"),
        ("…", ""),
        ("…", "one\ntwo"),
        ("one\n…\nfour", "one\ntwo\nthree\nfour"),
        ("one\n…\nfour", "one\nfour"),
        ("…\nend\n…\nend", "end\nx\nend\nend"),
        ("a … z", "a b c z"),
        ("step   time", "step  time"),
        ("took 762 ms", "took 1.2 s"),
        ("2 min 3 s ago", "5 s ago"),
        ("done in 0.12s:", "done in 12.5s:"),
        ('{"execution_time_ms":51}', '{"execution_time_ms":7}'),
        ("{'execution_time_ms': 41}", "{'execution_time_ms': 0.5}"),
        ("at 2026-11-28T14:43:40.120000Z", "at 2027-01-01T00:00:00Z"),
        ("2026-11-28 14:43:40 UTC", "2027-01-01 00:00:00 UTC"),
        ("[14:43:40] x", "[00:00:00] x"),
        ("pid 12", "pid 99999"),
        ("50 %", "7.5 %"),
        ("celery@laptop ready.", "celery@vm-7 ready."),
        ("─────", "──────────"),
        ("cost (1) [a] $0", "cost (1) [a] $0"),
    ],
)
def test_is_the_same(page: str, out: str) -> None:
    assert is_same(page, out)


@pytest.mark.parametrize(
    "page, out",
    [
        ("one", "two"),
        ("one", "one\ntwo"),
        ("one\ntwo", "one"),
        ("one\ntwo", "two\none"),
        ("one\n…\ntwo", "one\ntwo\nthree"),
        ("2 steps", "3 steps"),
        ("took 762 ms", "took long"),
        ("a.b", "axb"),
        ("", "one"),
        ("…x", "xy"),
    ],
)
def test_is_different(page: str, out: str) -> None:
    assert not is_same(page, out)


def test_lines_of_both_streams_may_be_shown_in_any_order() -> None:
    assert is_same("a\nx\nb", "a\nb", "x")
    assert is_same("x\na\nb", "a\nb", "x")
    assert is_same("a\nb", "a\nb", "x\ny")
    assert not is_same("y\nx\na", "a", "x\ny")
    assert not is_same("a\nx", "a\nb", "x")


def test_the_beginning_of_what_goes_on_is_enough() -> None:
    assert is_same("one", "one\ntwo", beginning=True)
    assert not is_same("one\ntwo", "one", beginning=True)


def test_ids_of_the_page_stand_for_real_ones() -> None:
    names = Names()
    page = "01a1fc9d-1e67-70ac-baf0-abf1d016a2cb"
    assert difference([f"run {page}"], f"run {ID}", "", names) is None
    assert names.put_in(f"flowq runs show {page}") == f"flowq runs show {ID}"
    assert names.put_in("flowq runs show 01a1fc9d") == f"flowq runs show {ID}"
    assert names.put_in("flowq runs show 01a1fc9d-1e67-70ac") == f"flowq runs show {ID}"
    assert difference(["● 01a1fc9d-1e67-70ac  x"], f"● {ID[:18]}  x", "", names) is None
    problem = difference([page], OTHER, "", names)
    assert problem is not None
    assert ID in problem
    assert OTHER in problem


def test_ids_of_one_minute_are_told_apart() -> None:
    """They begin alike, so a short form stands for the latest of them."""
    names = Names()
    for real in (ID, OTHER):
        assert difference([f"run {real}"], f"run {other_of(real)}", "", names) is None
    assert names.of(ID[:8]) == other_of(OTHER)
    assert difference(["flowq://01a2…/count"], f"flowq://{ID}/count", "", Names()) is None


def test_an_unknown_id_stays_as_it_is() -> None:
    assert Names().put_in("flowq runs show 01a1fc9d") == "flowq runs show 01a1fc9d"


def test_the_problem_names_the_line_and_shows_both_texts() -> None:
    problem = difference(["one", "two", "three"], "one\n2\nthree", "warned", Names())
    assert problem is not None
    assert problem.splitlines()[0] == "the output has not, in its place: two"
    assert {"-two", "+2", "+warned"} <= set(problem.splitlines())
