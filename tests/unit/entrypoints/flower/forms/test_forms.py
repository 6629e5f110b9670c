"""Forms that are made from JSON schemas: what is typed for a flat model is what pydantic has."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, create_model

from flowq.entrypoints.flower.forms.fields import ABSENT, Kind
from flowq.entrypoints.flower.forms.values import Form, FormInvalid


class Colour(Enum):
    RED = "red"
    TWO = 2


class Address(BaseModel):
    street: str
    floor: int = 3
    lift: bool | None = None


def milliseconds(then: datetime) -> datetime:
    return then.replace(microsecond=then.microsecond // 1000 * 1000)


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), min_size=1)
ADDRESSES = st.builds(Address, street=WORDS, floor=st.integers(), lift=st.none() | st.booleans())
#: Annotations with their values. A value that no form can type is left out: a text that is empty.
TYPES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (bool, st.booleans()),
    (Literal["a", "b c", 3], st.sampled_from(["a", "b c", 3])),
    (Colour, st.sampled_from(Colour)),
    (Annotated[int, Field(ge=-5, lt=100)], st.integers(-5, 99)),
    (int, st.integers()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (Decimal, st.decimals(-(10**6), 10**6, places=2)),
    (str, WORDS),
    (date, st.dates()),
    (datetime, st.datetimes(timezones=st.just(UTC)).map(milliseconds)),
    (list[int], st.lists(st.integers(), max_size=3)),
    (dict[str, bool], st.dictionaries(WORDS, st.booleans(), max_size=2)),
    (timedelta, st.timedeltas(timedelta(0), timedelta(days=9))),
    (Address, ADDRESSES),
]


@st.composite
def models(draw: st.DrawFn) -> tuple[type[BaseModel], dict[str, Any]]:
    """Return a model, and values of its fields that differ from their defaults, or do not."""
    fields: dict[str, Any] = {}
    values: dict[str, Any] = {}
    for number in range(draw(st.integers(1, 5))):
        annotation, strategy = draw(st.sampled_from(TYPES))
        if draw(st.booleans()):
            annotation, strategy = annotation | None, st.none() | strategy
        name = f"f{number}"
        default = draw(st.just(...) | strategy)
        fields[name] = (annotation, default)
        values[name] = draw(strategy)
    return create_model("Any", **fields), values


@settings(max_examples=200, deadline=None)
@given(models())
def test_a_form_gives_what_pydantic_validates(made: tuple[type[BaseModel], dict[str, Any]]) -> None:
    model, values = made
    form = Form(model.model_json_schema())
    wanted = model(**values)

    typed = form.typed(wanted.model_dump(mode="json"))
    assert wanted == model.model_validate(form.value(typed))

    as_json = wanted.model_dump_json()
    assert wanted == model.model_validate(form.value({**typed, form.whole: as_json}))
    if not any(field.is_required() for field in model.model_fields.values()):
        assert model() == model.model_validate(form.value(form.typed()))


class Order(BaseModel):
    count: int = Field(ge=1, lt=10, description="how many")
    size: float | None = Field(None, gt=0)
    price: Decimal = Field(Decimal("1.50"), ge=0)
    colour: Colour = Colour.RED
    name: Annotated[str, Field(max_length=5)] = "x"
    due: date | None = None
    express: bool
    to: Address
    tags: list[str] = []
    deep: dict[str, list[int]] | None = None


FORM = Form(Order.model_json_schema())


def problems(**typed: str) -> dict[str, str]:
    good = {"count": "1", "express": "true", "to/street": "S"}
    with pytest.raises(FormInvalid) as refused:
        FORM.value({f"value/{name}": text for name, text in {**good, **typed}.items()})
    return {name.removeprefix("value/"): why for name, why in refused.value.problems.items()}


def test_each_problem_is_in_plain_words_beside_its_field() -> None:
    assert problems(count="", express="") == {"count": "is missing", "express": "is missing"}
    assert problems(count="1.5", size="2,5") == {
        "count": "has to be a whole number",
        "size": "has to be a number, for example 2.5",
    }
    assert problems(count="10", price="-1", due="soon") == {
        "price": "has to be 0 or more",
        "due": "has to be a day, for example 2030-01-31",
    }
    assert problems(count="10", size="0", name="longer") == {
        "count": "has to be less than 10",
        "size": "has to be more than 0",
        "name": "can have at most 5 characters",
    }
    assert problems(colour="blue") == {"colour": "has to be one of: red, 2"}
    assert problems(tags='["a", 1]') == {"tags": "has to be text"}
    assert "is not JSON" in problems(tags="{")["tags"]
    assert "too many digits" in problems(deep='{"a": [%s]}' % ("9" * 5000))["deep"]


def test_json_for_the_whole_replaces_the_fields() -> None:
    whole = '{"count": 2, "express": true, "to": {"street": "S"}}'
    assert FORM.value({FORM.whole: whole, "value/count": "no"})["count"] == 2
    with pytest.raises(FormInvalid) as refused:
        FORM.value({FORM.whole: '{"count": 0}'})
    assert {FORM.whole} == refused.value.problems.keys()
    assert "count has to be 1 or more" in refused.value.problems[FORM.whole]
    assert "express is missing" in refused.value.problems[FORM.whole]


def test_fields_say_what_the_schema_says() -> None:
    fields = {one.label: one for one in FORM.fields}
    assert fields["count"].help == "how many; 1 or more, less than 10"
    assert fields["price"].kind is Kind.DECIMAL
    assert fields["price"].help == "0 or more"
    assert fields["to.street"].must_be_filled
    assert fields["to.floor"].default == 3
    assert fields["tags"].kind is fields["deep"].kind is Kind.JSON
    assert [words for _, words in fields["express"].choices] == ["yes", "no"]
    assert fields["count"].default is ABSENT


def test_errors_of_the_engine_find_their_fields() -> None:
    text = "the inputs are invalid:\n  count: expected 1, got 0\n  to.street: bad\n  other: unknown"
    assert FORM.problems_of(text) == {
        "value/count": "expected 1, got 0",
        "value/to/street": "bad",
        "": "other: unknown",
    }
    assert FORM.problems_of("no such flow") == {"": "no such flow"}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": 7},
        "text",
        {"type": "object"},
        {"type": "object", "properties": {f"p{n}": {} for n in range(200)}},
        {"$ref": "#/$defs/Nothing"},
        {"type": "object", "properties": {"a": True}, "required": ["a"]},
        TypeAdapter(list[int]).json_schema(),
    ],
)
def test_what_is_not_flat_takes_json(schema: Any) -> None:
    form = Form(schema)
    assert {Kind.JSON} == {one.kind for one in form.fields}


def test_single_values_have_one_field() -> None:
    assert Form({"type": "boolean"}).value({"value": "false"}) is False
    assert Form(TypeAdapter(int | None).json_schema()).value({"value": ""}) is None
    assert Form({}).value({}) is None
    with pytest.raises(FormInvalid):
        Form({"type": "string", "pattern": "^a$"}).value({"value": "b"})
    # A pattern that Python does not know is left to whoever takes the value.
    assert Form({"type": "string", "pattern": r"\p{L}"}).value({"value": "b"}) == "b"


def test_a_decimal_beyond_floats_is_refused() -> None:
    step = create_model("Step", price=(Decimal, Field(multiple_of=0.5)))
    form = Form(step.model_json_schema())
    with pytest.raises(FormInvalid, match="has to be a number"):
        form.value({"value/price": "1e400"})
