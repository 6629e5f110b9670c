"""Constants in a flow: how they are written, and how precisely they are refused."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr, TypeAdapter

from flowq.authoring.calls.refs import Ref
from flowq.authoring.calls.templates import (
    ValueLocation,
    to_condition,
    to_template,
    to_templates,
)
from flowq.authoring.calls.tracing import Trace
from flowq.core.errors import InvalidFlow
from flowq.core.references import Reference, references, resolve

TRACE = Trace("shop")
PLACE = ValueLocation(TRACE, "argument 'x' of step 'pay'")
REF: Any = Ref(TRACE, Reference("cart"))


class Colour(StrEnum):
    RED = "red"


class Size(Enum):
    SMALL = 1


class Item(BaseModel):
    name: str = Field(alias="Name")
    extra: Any = None


@dataclass
class Box:
    content: Any


class Text(str):
    __slots__ = ()


class Share(float):
    __slots__ = ()


@pytest.mark.parametrize(
    "value, written",
    [
        (None, None),
        (True, True),
        (3, 3),
        (1.5, 1.5),
        ("é", "é"),
        ((1, [2]), [1, [2]]),
        ({1: "a", 2.5: "b", False: "c"}, {"1": "a", "2.5": "b", "false": "c"}),
        (MappingProxyType({"a": 1}), {"a": 1}),
        ({3}, [3]),
        (Colour.RED, "red"),
        (Size.SMALL, 1),
        (Text("a"), "a"),
        (Share(0.5), 0.5),
        (math.nan, {"$float": "nan"}),
        ([Share("-inf")], [{"$float": "-inf"}]),
        ({"$float": "nan"}, {"$literal": {"$float": "nan"}}),
        ({1, Colour.RED}, ["red", 1]),
        (Path("a/b"), "a/b"),
        (Decimal("1.10"), "1.10"),
        (timedelta(seconds=3), "PT3S"),
        (datetime(2024, 1, 2, tzinfo=UTC), "2024-01-02T00:00:00Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Item(Name="a"), {"name": "a", "extra": None}),
        (Box({"a": 1}), {"content": {"a": 1}}),
        ({Colour.RED: 1}, {"red": 1}),
    ],
)
def test_constants_are_written_as_json(value: Any, written: Any) -> None:
    """What pydantic can write is written as it writes it, models by the names of their fields."""
    assert written == to_template(value, PLACE)


@pytest.mark.parametrize(
    "value",
    [
        [REF],
        (REF,),
        {"a": {"b": [REF]}},
        Item(Name="a", extra=[REF]),
        Box({"k": REF}),
        {REF},
    ],
)
def test_refs_are_found_in_containers(value: Any) -> None:
    """A Ref may stand in lists, dicts, sets, models and dataclasses."""
    assert [Reference("cart")] == list(references(to_template(value, PLACE)))


@pytest.mark.parametrize(
    "value",
    [{"$ref": "a"}, {"$literal": 1}, {"$op": "==", "args": []}, {"a": [{"$ref": {"$ref": 1}}]}],
)
def test_data_that_looks_like_a_marker_comes_back_as_it_was(value: Any) -> None:
    """User data is never taken for a reference."""
    template = to_template(value, PLACE)

    assert [] == list(references(template))
    assert value == resolve(template, lambda _: pytest.fail("nothing to look up"))


def test_ref_beside_a_marker_is_refused() -> None:
    """Types that cannot be distinguished are not guessed."""
    with pytest.raises(InvalidFlow, match=r"beside the key '\$ref'"):
        to_template({"$ref": "x", "other": [REF]}, PLACE)


KEYS = st.text() | st.sampled_from(["$ref", "$op", "$literal", "$float", "$failure", "path"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner),
    max_leaves=10,
)  # fmt: skip


@given(JSON)
def test_any_json_comes_back_as_it_was(value: Any) -> None:
    """Writing a constant and resolving the template gives the constant, whatever it is."""
    template = to_template(value, PLACE)

    assert value == resolve(template, lambda _: pytest.fail("nothing to look up"))


@pytest.mark.parametrize("kind", [None, Any, int, float, str, bool, date, list[int]])
@given(
    values=st.lists(JSON | st.sampled_from([10**5000, math.nan, REF, date(2030, 1, 1), "\ud800"]))
)
def test_items_of_a_list_are_written_as_each_alone(kind: Any, values: list[Any]) -> None:
    """Long lists have a short way for plain values; it changes nothing, errors included."""
    reader = None if kind is None else TypeAdapter(kind)

    def written(of: Any) -> Any:
        try:
            return repr(of())
        except InvalidFlow as error:
            return str(error)

    place = ValueLocation(TRACE, "the list of step 'pay'", code=written.__code__)
    alone = written(
        lambda: [to_template(one, place.inside(i), reader) for i, one in enumerate(values)]
    )
    assert alone == written(lambda: to_templates(values, place, reader))


class Client:
    pass


@pytest.mark.parametrize(
    "value, problem",
    [
        ({"client": [1, Client()]}, r"at \['client'\]\[1\], holds a .*\.Client"),
        (Client(), r"step 'pay' holds a .*\.Client"),
        (Item(Name="a", extra={"c": Client()}), r"at \['extra'\]\['c'\], holds a .*\.Client"),
        (Box([Client()]), r"at \['content'\]\[0\], holds a .*\.Client"),
        ([b"x"], r"at \[0\], holds bytes"),
        (bytearray(b"x"), "holds bytearray"),
        ({"$ref": math.nan}, r"is nan, which JSON cannot represent, beside the key '\$ref'"),
        pytest.param([10**5000], r"at \[0\], is an integer with too many digits", id="digits"),
        ([SecretStr("x")], r"at \[0\], would change when it is stored: it is a SecretStr"),
        ({date(2024, 1, 2): 1, None: 2}, "has the key None"),
        ({frozenset(): 1}, "not valid as object key"),
        (["\udcff"], r"at \[0\], is no valid text"),
        ({(1, 2): 3}, r"has the key \(1, 2\)"),
        ({b"x": 3}, r"has the key b'x'"),
        ({1: 2, "1": 3}, "has two keys that both become '1'"),
        (len, "is code, not data"),
        (Client, "is code, not data"),
        ([REF > 1], r"at \[0\], is a condition"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place(value: Any, problem: str) -> None:
    """The message names flow, argument, step, the path inside and the line of the call."""
    with pytest.raises(InvalidFlow, match=problem) as caught:
        to_template(value, PLACE)

    assert caught.match(r"^flow 'shop': argument 'x' of step 'pay'")
    assert caught.match(r"\(\S+:\d+\)")


def test_value_that_contains_itself_is_refused() -> None:
    """An endless value ends with a message."""
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(InvalidFlow, match="contains itself"):
        to_template(endless, PLACE)


@pytest.mark.parametrize("value, truth", [(0, False), ("x", True), ([], False), (None, False)])
def test_plain_condition_is_decided_at_once(value: Any, *, truth: bool) -> None:
    """A value that is known while tracing is its truth."""
    assert truth == to_condition(value, PLACE)


def test_constants_in_conditions_may_look_like_markers() -> None:
    """Both sides of a comparison are templates of their own."""
    looks: Mapping[str, Any] = {"$op": "len"}

    condition = to_condition(REF == looks, PLACE)

    assert {"$op": "==", "args": [{"$ref": "cart"}, {"$literal": looks}]} == condition
