"""Templates: where references are found, and what they lead to."""

from types import SimpleNamespace
from typing import Any

import pytest

from flowq.core.errors import StepError
from flowq.core.references import (
    SKIPPED,
    Reference,
    as_reference,
    follow,
    literal,
    references,
    resolve,
)
from flowq.core.results import StepFailure

VALUE = {"page": {"title": "T", "links": ["a", "b"], "by": SimpleNamespace(name="N", keys=1)}}


def find(reference: Reference) -> Any:
    return follow(VALUE[reference.step], reference.path, reference)


def test_reference_and_its_template_are_the_same() -> None:
    """A reference survives JSON."""
    for reference in (Reference("a"), Reference("a", ("b", 0))):
        assert reference == as_reference(reference.to_json())


def test_references_are_found_in_reading_order() -> None:
    """Also within conditions, but not within literals."""
    template = {
        "a": [{"$ref": "x"}, {"b": {"$ref": "y", "path": [0]}}],
        "c": {"$op": "==", "args": [{"$ref": "z"}, 1]},
        "d": literal({"$ref": "no"}),
    }

    assert [Reference("x"), Reference("y", (0,)), Reference("z")] == list(references(template))


@pytest.mark.parametrize(
    "path, value",
    [
        ((), VALUE["page"]),
        (("title",), "T"),
        (("links", 1), "b"),
        (("links", -1), "b"),
        (("title", 0), "T"),
        (("by", "name"), "N"),
        (("by", "keys"), 1),
    ],
)
def test_path_runs_over_dicts_lists_and_objects(path: tuple[Any, ...], value: Any) -> None:
    """Keys, indexes and attributes are one kind of path."""
    assert [value] == resolve([Reference("page", path).to_json()], find)


def test_key_comes_before_attribute() -> None:
    """A dict with a key `items` is a dict with a key `items`."""
    assert 1 == follow({"items": 1}, ("items",), Reference("x", ("items",)))


@pytest.mark.parametrize(
    "path, problem",
    [
        (("nope",), r"page\.nope cannot be read: no 'nope' in a dict \(it has: title, links, by\)"),
        (("links", 2), r"page\.links\[2\] cannot be read: no item 2 in a list of 2"),
        (("links", "x"), "no 'x' in a list"),
        (("by", "nope"), "no 'nope' in a SimpleNamespace"),
        (("by", "__class__"), "no '__class__' in a SimpleNamespace"),
        (("keys",), "no 'keys' in a dict"),
    ],
)
def test_path_that_leads_nowhere_is_reported(path: tuple[Any, ...], problem: str) -> None:
    """The error shows the path as written, and what is there instead."""
    with pytest.raises(StepError, match=problem):
        resolve(Reference("page", path).to_json(), find)


@pytest.mark.parametrize("default", [None, "", 0, {"$literal": {"$ref": "a"}}])
def test_a_reference_to_what_was_skipped_gives_its_default(default: Any) -> None:
    template = {"x": {"$ref": "page", "path": ["a"], "default": default}}
    expected = {"$ref": "a"} if default else default
    assert resolve(template, lambda _: SKIPPED) == {"x": expected}
    assert resolve(template, lambda _: 7) == {"x": 7}


def test_skipped_is_none_and_a_failure_is_itself() -> None:
    """A path into what did not run, or failed, ends there."""
    failure = StepFailure(step="page", error="E", message="m")

    for value, result in ((SKIPPED, None), (failure, failure)):
        found = resolve(
            {"x": {"$ref": "page", "path": ["a", 0]}},
            lambda ref, value=value: follow(value, ref.path, ref),  # type: ignore[misc]
        )
        assert {"x": result} == found


@pytest.mark.parametrize(
    "data",
    [{"$ref": "a"}, {"a": [{"$op": 1}]}, {"$literal": {"$ref": 1}}, [1, {"b": None}], "text"],
)
def test_literal_comes_back_as_it_was(data: Any) -> None:
    """Data that looks like a marker is never looked up."""
    assert data == resolve(literal(data), lambda _: pytest.fail("nothing to look up"))
    assert [] == list(references(literal(data)))
