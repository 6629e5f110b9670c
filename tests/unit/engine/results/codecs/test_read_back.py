"""What a step returns comes back as it was, or is refused with the place and the reason."""

import dataclasses
import math
from collections import Counter, OrderedDict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from types import NoneType
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    RootModel,
    SecretBytes,
    SecretStr,
    TypeAdapter,
    computed_field,
    field_validator,
)
from typing_extensions import TypedDict

from flowq.core.errors import InvalidOutput, NotSerializable
from flowq.core.text.json_values import MAX_DEPTH
from flowq.engine.results.codecs import adapter_for, coerce, decode, encode

BERLIN = ZoneInfo("Europe/Berlin")
T = TypeVar("T")


class Payment(BaseModel):
    amount: int


class CardPayment(Payment):
    card: str


class Login(BaseModel):
    password: SecretStr


class Hidden(BaseModel):
    shown: int = 1
    hidden: int = Field(2, exclude=True)


class MustBeHidden(BaseModel):
    hidden: int = Field(exclude=True)


class Private(BaseModel):
    shown: int
    _kept: int = PrivateAttr(0)
    _lock: Any = PrivateAttr(default_factory=object)


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    one: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def two(self) -> int:
        return self.one * 2


class Aliased(BaseModel):
    name: str = Field(alias="Name")


class Swapped(BaseModel):
    one: int = Field(alias="two")
    two: int = Field(alias="one")


class Page(BaseModel, Generic[T]):
    item: T


class Doubled(BaseModel):
    cents: int

    @field_validator("cents")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Split(BaseModel):
    words: list[str]

    @field_validator("words", mode="before")
    @classmethod
    def split(cls, value: Any) -> Any:
        return value.split(",")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    pair: tuple[int, UUID]


class One(BaseModel):
    x: int


class Other(BaseModel):
    x: int


class Numbers(RootModel[dict[int, float]]):
    pass


class Typed(TypedDict):
    day: date


class Box(BaseModel):
    content: Any


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Pair(Enum):
    AB = (1, 2)


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Point3(Point):
    z: int = 0


@dataclasses.dataclass(eq=False)
class NoEquality:
    x: int


@dataclasses.dataclass
class NotGiven:
    x: int
    y: int = dataclasses.field(init=False, default=0)


class Named(NamedTuple):
    x: int
    when: date


class WithPair(BaseModel):
    pair: Payment | CardPayment


def private(kept: int) -> Private:
    one = Private(shown=1)
    one._kept = kept
    return one


def not_given() -> NotGiven:
    one = NotGiven(1)
    one.y = 7
    return one


def passed(value: Any, annotation: Any) -> Any:
    """Return what a step gets whose parameter has the annotation of the step that returned."""
    encoded = encode(value, annotation, where="pay")
    assert isinstance(encoded.data, bytes)
    return coerce(decode(encoded.codec, encoded.data), adapter_for(annotation), where="x")


@pytest.mark.parametrize(
    "annotation, value",
    [
        (Payment | CardPayment, CardPayment(amount=1, card="visa")),
        (list[Payment | CardPayment], [CardPayment(amount=1, card="visa"), Payment(amount=2)]),
        (Hidden, Hidden()),
        (Private, private(0)),
        (Computed, Computed(one=1)),
        (Aliased, Aliased(Name="a")),
        (Page[int], Page[int](item=1)),
        (Page[Payment], Page[Payment](item=Payment(amount=1))),
        (Strict, Strict(day=date(2020, 1, 2), pair=(1, UUID(int=1)))),
        (Numbers, Numbers({1: math.nan, 2: -math.inf})),
        (Typed, {"day": date(2020, 1, 2)}),
        (One | Other, One(x=1)),
        (Colour | str, "red"),
        (int | str, "1"),
        (int | str, 1),
        (date | str, date(2020, 1, 2)),
        (str | date, "2020-01-02"),
        (float | int, 1),
        (bool | int, True),
        (dict[int, str], {1: "a"}),
        (dict[float, int], {1.5: 1, math.inf: 2}),
        (dict[bool, int], {True: 1}),
        (dict[date, int], {date(2020, 1, 2): 1}),
        (dict[Colour, int], {Colour.RED: 1}),
        (dict[Level, int], {Level.LOW: 1}),
        (Point, Point(1)),
        (list[NotGiven], [NotGiven(1)]),
        (Named, Named(1, date(2020, 1, 2))),
        (float, -0.0),
        (set[int], {1, 2}),
        (frozenset[str], frozenset("ab")),
        (tuple[int, ...], (1, 2)),
        (deque[int], deque([1, 2])),
        (list[bytes], [b"abc"]),
        (Decimal, Decimal("1.10")),
        (timedelta, timedelta(days=-1, microseconds=1)),
        (datetime, datetime(2020, 1, 2, tzinfo=UTC)),
        (datetime, datetime.max.replace(tzinfo=UTC)),
        (int, 2**70),
        (UUID, UUID(int=1)),
        (list[Path], [Path("a")]),
        (complex, 1 + 2j),
        (int, 10**4000),
        (str, "a\0b"),
    ],
)
def test_a_value_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    came = passed(value, annotation)

    assert _types(value) == _types(came)


def test_the_bound_of_a_deque_is_kept_or_refused() -> None:
    """`deque == deque` says nothing about `maxlen`."""
    with pytest.raises(InvalidOutput, match="maxlen would be lost"):
        encode(deque([1], maxlen=3), deque[int])


def test_what_compares_by_identity_comes_back_with_its_parts() -> None:
    assert 1 == passed(NoEquality(1), NoEquality).x


def test_a_time_keeps_its_offset_where_an_hour_comes_twice() -> None:
    came = passed(datetime(2020, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), datetime)

    assert timedelta(hours=1) == came.utcoffset()


@pytest.mark.parametrize(
    "annotation, value, reason",
    [
        (
            Payment,
            CardPayment(amount=1, card="v"),
            "it is a CardPayment and would be read back as a",
        ),
        (list[Payment], [CardPayment(amount=1, card="v")], r"at \[0\]: it is a CardPayment"),
        (dict[str, Payment], {"k": CardPayment(amount=1, card="v")}, "at k: it is a CardPayment"),
        (Page[Payment], Page[Payment](item=CardPayment(amount=1, card="v")), "at item: it is a Ca"),
        (
            Login,
            Login(password=SecretStr("hunter2")),
            "at password: it is a SecretStr, which flowq ne",
        ),
        (SecretBytes, SecretBytes(b"hunter2"), "it is a SecretBytes, which flowq never stores"),
        (Box, Box(content=[SecretStr("hunter2")]), r"at content\[0\]: it is a SecretStr"),
        (Hidden, Hidden(hidden=3), "at hidden: it is excluded, so it would be lost"),
        (MustBeHidden, MustBeHidden(hidden=3), "hidden: expected a value, got none"),
        (Private, private(5), "at _kept: it is private, so it would be lost"),
        (Swapped, Swapped(one=1, two=2), "at one: it is 2 and would be read back as 1"),
        (Doubled, Doubled(cents=1), "at cents: it is 2 and would be read back as 4"),
        (Split, Split.model_validate({"words": "a,b"}), "AttributeError"),
        (One | Other, Other(x=1), "it is a Other and would be read back as a One"),
        (Colour | str, Colour.RED, "it is a Colour and would be read back as a str"),
        (date | str, "2020-01-02", "it is a str and would be read back as a date"),
        (list[date | str], ["2020-01-02"], r"at \[0\]: it is a str"),
        (Pair, Pair.AB, "cannot be read back"),
        (Point, Point3(1, 2), "it is a Point3 and would be read back as a Point"),
        (NotGiven, not_given(), "at y: it is 7 and would be read back as 0"),
        (dict[tuple[int, int], str], {(1, 2): "a"}, "cannot be read back"),
        (dict[str | None, int], {None: 1}, "it has the key None"),
        (datetime, datetime(2020, 10, 25, 2, 30, fold=1), "fold=1"),  # noqa: DTZ001 - the case
        (
            datetime,
            datetime(2020, 1, 1, tzinfo=timezone(timedelta(seconds=3208))),
            "would be read back as datetime",
        ),
        (time, time(1, 2, tzinfo=BERLIN), "it is datetime.time"),
        pytest.param(int, 10**5000, "an integer with too many digits", id="digits"),
        (list[int], [10**5000], "an integer with too many digits"),
    ],
)
def test_a_value_that_would_come_back_as_another_is_refused(
    annotation: Any, value: Any, reason: str
) -> None:
    with pytest.raises((InvalidOutput, NotSerializable), match=reason) as caught:
        passed(value, annotation)

    assert caught.value.message.startswith("pay returned a value that")
    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize(
    "value, form",
    [
        ((1, 2), [1, 2]),
        ({"at": date(2020, 1, 2)}, {"at": "2020-01-02"}),
        ([CardPayment(amount=1, card="v")], [{"amount": 1, "card": "v"}]),
        ([Decimal("1.10"), UUID(int=1), Path("a")], ["1.10", str(UUID(int=1)), "a"]),
        ({1: "a"}, {"1": "a"}),
        ([Point3(1, 2), Named(1, date(2020, 1, 2))], [{"x": 1, "z": 2}, [1, "2020-01-02"]]),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(a=math.nan), {"a": math.nan}),
        ([np.float64(0.5), np.int64(3)], [0.5, 3]),
        ([Colour.RED, Level.LOW], ["red", 1]),
    ],
)
def test_where_nothing_says_a_type_the_json_form_comes_back(value: Any, form: Any) -> None:
    assert repr(form) == repr(passed(value, Any))


@pytest.mark.parametrize(
    "value, reason",
    [
        ({"password": SecretStr("hunter2")}, "at password: it is a SecretStr"),
        ([Login(password=SecretStr("hunter2"))], r"at \[0\].password: it is a SecretStr"),
        ([private(5)], r"at \[0\]._kept: it is private"),
        ({(1, 2): 3}, r"it has the key \(1, 2\), which would come back as '1,2'"),
        ({None: 1}, "it has the key None"),
        ({1: 1, "1": 2}, "it would be read back with 1 keys, not 2"),
        ({"a": {frozenset(): 1}}, "not valid as object key"),
        ([Decimal("sNaN")], r"at \[0\]: it is a Decimal"),
        ([Doubled(cents=1)], r"at \[0\].cents: it is 2"),
        ([Pair.AB], r"at \[0\]: it is a Pair"),
    ],
)
def test_a_form_that_its_own_type_cannot_read_is_refused(value: Any, reason: str) -> None:
    with pytest.raises(NotSerializable, match=reason) as caught:
        passed(value, Any)

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("annotation", [Any, list])
@pytest.mark.parametrize("inner", [[1], {"a": [1]}])
def test_one_limit_says_how_deep_a_value_may_nest(annotation: Any, inner: Any) -> None:
    def nested(levels: int) -> Any:
        value = inner
        for _ in range(levels - (1 if isinstance(inner, list) else 2)):
            value = [value]
        return value

    assert nested(MAX_DEPTH) == passed(nested(MAX_DEPTH), annotation)
    for levels in (MAX_DEPTH + 1, 150, 250, 2000):
        with pytest.raises(NotSerializable, match=f"nests deeper than {MAX_DEPTH} levels"):
            passed(nested(levels), annotation)


# --- types and values at random ------------------------------------------------------------------

st.register_type_strategy(SecretStr, st.text(min_size=1).map(SecretStr))

SCALARS = st.sampled_from(
    [
        *(int, str, bool, float, bytes, date, datetime, time, timedelta, Decimal, UUID, NoneType),
        *(Colour, Level, Payment, CardPayment, Point, Point3, Named, Strict, SecretStr),
    ]
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    keys = st.sampled_from([str, int, float, bool, date, UUID, Colour, tuple[int, int], NoneType])
    pairs = st.tuples(inner, inner)
    return (
        inner.map(lambda one: list[one])  # type: ignore[valid-type]
        | pairs.map(lambda two: tuple[two])  # type: ignore[valid-type]
        | pairs.map(lambda two: two[0] | two[1])
        | st.tuples(keys, inner).map(dict.__class_getitem__)
        | inner.map(lambda one: Page[one])  # type: ignore[valid-type]
    )


ANNOTATIONS = st.recursive(SCALARS, _containers, max_leaves=4)


def _types(value: Any) -> Any:
    """Return a value with its types, down to the last part, as text."""
    if isinstance(value, BaseModel):
        return type(value).__name__, [_types(part) for _, part in value]
    if isinstance(value, dict):
        return [(_types(key), _types(part)) for key, part in value.items()]
    if isinstance(value, list | tuple):
        return type(value).__name__, [_types(part) for part in value]
    if isinstance(value, datetime | time):
        return type(value).__name__, str(value)
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return type(value).__name__, repr(value)


@given(st.data())
def test_whatever_is_accepted_comes_back_as_it_was(data: st.DataObject) -> None:
    annotation: Any = data.draw(ANNOTATIONS)
    try:
        value = data.draw(st.from_type(annotation))
        accepted = TypeAdapter(annotation).validate_python(value)
        came = passed(value, annotation)
    except (ValueError, InvalidOutput, NotSerializable):
        return

    assert _types(accepted) == _types(came)
