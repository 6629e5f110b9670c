"""References: what makes a path, what makes a condition, and what is refused."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from flowq.authoring.calls.refs import Condition, Ref, length, operation, owner, reference
from flowq.core.references import Reference

OWNER = object()


def make() -> Any:
    return Ref(OWNER, Reference("page"))


def test_access_extends_the_path() -> None:
    """Attributes, keys and indexes may be mixed, negative indexes included."""
    ref = make().output["a key"][0].title[-1]

    assert Reference("page", ("output", "a key", 0, "title", -1)) == reference(ref)


def test_path_belongs_to_the_trace_of_its_start() -> None:
    """A part of a result belongs where the result belongs."""
    assert OWNER is owner(make().output[0])


@pytest.mark.parametrize("name", ["reference", "owner", "path", "step", "items", "keys", "name"])
def test_fields_of_any_name_can_be_read(name: str) -> None:
    """Nothing of a Ref hides a field of a result."""
    assert Reference("page", (name,)) == reference(getattr(make(), name))


def test_private_names_are_no_fields() -> None:
    """Python's own questions are answered with no, and the error names the way to such a field."""
    with pytest.raises(AttributeError, match=r'ref\["_id"\]'):
        _ = make()._id

    assert Reference("page", ("_id",)) == reference(make()["_id"])


@pytest.mark.parametrize("part", [1.5, True, None, slice(1, 2), make()])
def test_paths_hold_only_names_and_numbers(part: Any) -> None:
    """A slice, or a Ref as an index, is refused."""
    with pytest.raises(TypeError, match="takes a name or a number"):
        make()[part]


@pytest.mark.parametrize(
    "compare, name",
    [
        (lambda ref: ref == 3, "=="),
        (lambda ref: ref != 3, "!="),
        (lambda ref: ref < 3, "<"),
        (lambda ref: ref <= 3, "<="),
        (lambda ref: ref > 3, ">"),
        (lambda ref: ref >= 3, ">="),
        (lambda ref: ref & 3, "and"),
        (lambda ref: ref | 3, "or"),
    ],
)
def test_comparison_is_a_condition(compare: Callable[[Any], Any], name: str) -> None:
    """Each operator is kept with its operands, for the worker to decide."""
    ref = make()

    condition = compare(ref)

    assert isinstance(condition, Condition)
    assert OWNER is owner(condition)
    found, operands = operation(condition)
    assert name == found
    assert operands[0] is ref
    assert 3 == operands[1]


def test_constants_may_be_on_the_left() -> None:
    """`3 < ref` means `ref > 3`, and a plain bool joins with a Ref in either order."""
    assert ">" == operation(3 < make())[0]
    assert (True, "and") == (operation(True & make())[1][0], operation(True & make())[0])
    assert (False, "or") == (operation(False | make())[1][0], operation(False | make())[0])


def test_conditions_join() -> None:
    """Conditions are operands of others."""
    name, operands = operation(~((make() > 1) & (length(make()) < 5)))

    assert "not" == name
    assert isinstance(operands[0], Condition)
    assert "and" == operation(operands[0])[0]


def test_length_of_a_plain_value_is_plain() -> None:
    """A flow that runs as plain Python asks for lengths in the same way."""
    assert 3 == length([1, 2, 3])


@pytest.mark.parametrize(
    "use, hint",
    [
        (bool, r"\.options\(when="),
        (lambda ref: not ref, r"\.options\(when="),
        (list, r"\.map\(ref\)"),
        (len, "flowq.length"),
        (lambda ref: 1 in ref, "pass it to a step"),
        (lambda ref: ref(), "pass it to a step"),
        (lambda ref: ref.get("x"), "pass it to a step"),
        (str, "pass it to a step"),
        (lambda ref: f"{ref}", "pass it to a step"),
        (lambda ref: f"{ref:>10}", "pass it to a step"),
        (lambda ref: "%s" % ref, "pass it to a step"),  # noqa: UP031 - the old way is tested too
        (int, "pass it to a step"),
        (range, "pass it to a step"),
        (lambda ref: ref + 1, "pass it to a step"),
        (lambda ref: 1 - ref, "pass it to a step"),
        (lambda ref: -ref, "pass it to a step"),
        (pickle.dumps, "inside the flow"),
    ],
)
def test_uses_of_the_value_are_refused(use: Callable[[Any], Any], hint: str) -> None:
    """What needs the value itself says so, and what to write instead."""
    with pytest.raises(TypeError, match=hint) as caught:
        use(make())

    assert caught.match("<Ref page.* has no value yet while the flow is traced")


@pytest.mark.parametrize("use", [bool, list, len, str, int])
def test_conditions_refuse_the_same(use: Callable[[Any], Any]) -> None:
    """A condition is no value either."""
    with pytest.raises(TypeError, match=r"<Condition == .* has no value yet"):
        use(make() == 1)


def test_assigning_to_a_part_is_refused() -> None:
    """A result cannot be changed from the flow."""
    with pytest.raises(AttributeError):
        make().title = "x"
    with pytest.raises(TypeError, match="changing it"):
        make()["title"] = "x"


def test_refs_are_hashable_by_identity() -> None:
    """A Ref can be a key of a dict, though comparing it makes a condition."""
    ref, other = make(), make()

    assert "one" == {ref: "one", other: "two"}[ref]


def test_copies_are_the_same_ref() -> None:
    """Copying an argument keeps the reference, and asks no endless questions."""
    ref = make()

    assert copy.copy(ref) is ref
    assert copy.deepcopy([ref])[0] is ref


def test_half_made_ref_asks_no_endless_questions() -> None:
    """An object that was made without `__init__`, as unpickling does, has no attributes."""
    with pytest.raises(AttributeError):
        _ = Ref.__new__(Ref).title


def test_repr_shows_the_path() -> None:
    """A debugger sees what it has."""
    assert "<Ref page.output[0]>" == repr(make().output[0])
    assert "<Condition > <Ref page>, 3>" == repr(make() > 3)
