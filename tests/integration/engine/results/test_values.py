"""What a flow is given comes back as it was where it is read, or is refused where it is given."""

import math
from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from typing import Any, TypedDict, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, computed_field, field_validator

from flowq import BaseFlow, flow, step, testing
from flowq.core.errors import FlowqError, InvalidFlow, InvalidInput


class Payment(BaseModel):
    amount: int


class CardPayment(Payment):
    card: str


class Login(BaseModel):
    password: SecretStr


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: date
    pair: tuple[int, ...]


class Renamed(BaseModel):
    """Is written to others under names by which it cannot be read."""

    one: int = Field(1, serialization_alias="uno")
    two: int = Field(2, validation_alias="zwei", serialization_alias="due")


class Price(BaseModel):
    cents: int

    @field_validator("cents")
    @classmethod
    def double(cls, value: int) -> int:
        return value * 2


class Hidden(BaseModel):
    hidden: int = Field(2, exclude=True)


class Computed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    one: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def two(self) -> int:
        return self.one * 2


class Plain(TypedDict):
    depth: int


#: A definition that is made again needs a name of its own.
NUMBERS = count()


@step
def show(value: Any) -> str:
    return repr(value)


@step
def echo(text: str) -> str:
    return text


def _runs(annotation: Any) -> dict[str, Callable[[Any], Any]]:
    """Return flows of each kind that show an input of a type as their own code sees it."""

    def graph(value: Any) -> Any:
        return echo(repr(value))

    async def program(value: Any) -> str:
        return repr(value)

    def parent(value: Any) -> Any:
        return flows["program"](value)

    made = {one.__name__: one for one in (graph, program, parent)}
    for one in made.values():
        one.__annotations__ = {"value": annotation}
    flows: dict[str, Any] = {
        name: flow(name=f"inputs-come-back-{name}-{next(NUMBERS)}")(one)
        for name, one in made.items()
    }

    def run(one: Any, value: Any) -> Any:
        return testing.run(one, {"value": value})

    return {name: partial(run, one) for name, one in flows.items()}


def same(value: Any, annotation: Any) -> None:
    """Expect each kind of flow to see an input as it was."""
    for name, run in _runs(annotation).items():
        assert repr(value) == run(value), name


@pytest.mark.parametrize(
    "annotation, value",
    [
        (float, math.nan),
        (list[float], [math.nan, -math.inf, -0.0]),
        (dict[int, str], {1: "a"}),
        (dict[date, Decimal], {date(2020, 1, 2): Decimal("1.10")}),
        (Strict, Strict(day=date(2020, 1, 2), pair=(1, 2))),
        (Payment | CardPayment, CardPayment(amount=1, card="visa")),
        (Computed, Computed(one=1)),
        (Renamed, Renamed(one=3, zwei=4)),
        (list[Renamed], [Renamed(one=3, zwei=4)]),
        (set[int], {3}),
        (tuple[timedelta, ...], (timedelta(days=-1, microseconds=1),)),
        (Any, {"$float": "nan", "$ref": "x"}),
        (str, "a\0b"),
        (int, 2**70),
    ],
)
def test_an_input_is_the_same_in_every_kind_of_flow(annotation: Any, value: Any) -> None:
    same(value, annotation)


@pytest.mark.parametrize(
    "annotation, value, words",
    [
        (Login, {"password": "hunter2"}, "value.password: it is a SecretStr, which flowq never"),
        (list[Login], [{"password": "hunter2"}], r"value\[0\].password: it is a SecretStr"),
        (Payment, CardPayment(amount=1, card="visa"), "value: it is a CardPayment and would"),
        (Price, {"cents": 1}, "value.cents: it is 2 and would be read back as 4"),
        (Hidden, {"hidden": 3}, "value.hidden: it is excluded"),
        (date | str, "2020-01-02", "value: it is a str and would be read back as a date"),
        (dict[tuple[int, int], int], {(1, 2): 3}, "value: it cannot be read back"),
        (Any, SecretStr("hunter2"), "value: it is a SecretStr"),
        (Any, b"\xff", "cannot be stored as JSON"),
        (Any, "\udcff", "cannot be stored as JSON: at value: it is no valid text"),
        (Any, {frozenset(): 1}, "not valid as object key"),
        (Any, {None: 1}, "has the key None"),
        (datetime, datetime(2020, 10, 25, 2, fold=1), "fold=1"),  # noqa: DTZ001 - the case
        pytest.param(Any, 10**5000, "an integer with too many digits", id="digits"),
        pytest.param(int, "9" * 5000, "value: expected", id="text of digits"),
    ],
)
@pytest.mark.parametrize("kind", ["graph", "program", "parent"])
def test_an_input_that_would_come_back_as_another_is_refused(
    kind: str, annotation: Any, value: Any, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as caught:
        _runs(annotation)[kind](value)

    assert "hunter2" not in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("levels", [101, 200, 253, 500, 2000])
def test_an_input_nested_too_deep_is_refused(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]

    for kind in ("graph", "program"):
        with pytest.raises(InvalidInput, match="cannot be stored as JSON"):
            _runs(Any)[kind](deep)
    with pytest.raises(InvalidInput, match="value: expected"):
        _runs(int)["graph"](deep)


def test_an_input_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInput, match="cannot be stored as JSON"):
        _runs(Any)["graph"](loop)


def test_a_typed_dict_that_pydantic_cannot_read_is_the_authors_error() -> None:
    with pytest.raises(InvalidFlow, match=r"typing_extensions\.TypedDict"):
        _runs(Plain)["graph"]({"depth": 1})


def test_a_default_that_its_annotation_forbids_is_read_as_it_is() -> None:
    @flow
    async def lax(value: int = None) -> str:  # type: ignore[assignment]  # noqa: RUF013 - the case
        return repr(value)

    assert "None" == testing.run(lax, {})
    assert get_type_hints(lax)


class Inputs(BaseModel):
    payment: Payment
    at: date = date(2020, 1, 2)


class Pays(BaseFlow):
    """Says what it is given."""

    flow_name = "inputs-come-back-class"
    Inputs = Inputs

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"seen": repr(inputs)}


class Anything(BaseFlow):
    """Takes anything."""

    flow_name = "inputs-come-back-any"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        return {"seen": repr(inputs)}


def test_a_flow_class_sees_what_its_model_makes_of_the_inputs() -> None:
    seen = testing.run(Pays, {"payment": {"amount": 1}})

    assert {"seen": repr({"payment": {"amount": 1}, "at": date(2020, 1, 2)})} == seen


@pytest.mark.parametrize(
    "kind, inputs, words",
    [
        (Pays, {"payment": CardPayment(amount=1, card="visa")}, "Inputs.payment: it is a CardPay"),
        (Anything, {"x": SecretStr("hunter2")}, "x: it is a SecretStr"),
        (Anything, {"x": {(1, 2): 3}}, r"has the key \(1, 2\)"),
    ],
)
def test_a_flow_class_refuses_what_would_come_back_as_another(
    kind: type[BaseFlow], inputs: Any, words: str
) -> None:
    with pytest.raises(InvalidInput, match=words):
        testing.run(kind, inputs)


# --- at random: graph, program and plain Python see the same, or refuse --------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3)
    | st.dates() | st.timedeltas() | st.decimals() | st.uuids(),
    lambda inner: st.lists(inner, max_size=3)
    | st.tuples(inner, inner)
    | st.dictionaries(st.text() | st.integers() | st.none() | st.dates(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
TYPES = st.sampled_from(
    [
        *(int | str, date | str, list[float], dict[int, float], tuple[bytes, bytes], list[Decimal]),
        *(dict[date, int], float | None, bool | int, set[int] | list[int], dict[str, list[bytes]]),
    ]
)


SOME = settings(max_examples=25, suppress_health_check=list(HealthCheck))


@SOME
@given(TYPES, st.data())
def test_graph_and_program_pass_on_what_plain_python_does(
    annotation: Any, data: st.DataObject
) -> None:
    value = data.draw(st.from_type(annotation))

    def make() -> Any:
        return value

    make.__annotations__ = {"return": annotation}
    made = step(name=f"come-back-make-{next(NUMBERS)}")(make)

    def take(given: Any) -> str:
        return repr(given)

    take.__annotations__ = {"given": annotation, "return": str}
    taken = step(name=f"come-back-take-{next(NUMBERS)}")(take)

    @flow(name=f"come-back-graph-{next(NUMBERS)}")
    def graph() -> Any:
        return taken(made())

    @flow(name=f"come-back-program-{next(NUMBERS)}")
    async def program() -> Any:
        value: Any = made()
        result: Any = taken(await value)
        return await result

    @flow(name=f"come-back-constant-{next(NUMBERS)}")
    def constant() -> Any:
        return taken(value)

    assert repr(value) == taken(made())

    for one in (graph, program, constant):
        try:
            seen = testing.run(one, {})
        except FlowqError:
            continue
        assert repr(value) == seen, one


@SOME
@given(VALUES)
def test_any_value_is_stored_or_refused_with_one_family_of_errors(value: Any) -> None:
    @flow(name=f"come-back-any-{next(NUMBERS)}")
    def takes(value: Any) -> Any:
        return show(value)

    with suppress(InvalidInput, InvalidFlow):
        testing.run(takes, {"value": value})
