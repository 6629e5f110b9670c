"""Inputs of a flow: what is taken, and that all problems are reported at once."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from pydantic import BaseModel, Field

from flowq.authoring.definitions.flows import flow
from flowq.core.errors import InvalidFlow, InvalidInput

if TYPE_CHECKING:
    from decimal import Decimal as Hidden


class Order(BaseModel):
    id: int
    note: str = ""


@flow
def shop(  # type: ignore[no-untyped-def]
    order: Order,
    day: date,
    depth: Annotated[int, Field(gt=0)] = 2,
    *,
    folder: Path = Path(),
    anything=None,  # noqa: ANN001 - what is tested
) -> list[str]:
    return []


def test_inputs_become_values_of_their_types() -> None:
    """JSON and text, as they come from outside, are read through the annotations."""
    checked = shop.type.validate({"order": {"id": "7"}, "day": "2024-01-02", "depth": "3"})

    assert {
        "order": Order(id=7),
        "day": date(2024, 1, 2),
        "depth": 3,
        "folder": Path(),
        "anything": None,
    } == checked


def test_checked_inputs_pass_again() -> None:
    """Checking what was checked changes nothing."""
    checked = shop.type.validate({"order": {"id": 7}, "day": "2024-01-02"})

    assert checked == shop.type.validate(checked)


def test_all_problems_are_reported() -> None:
    """Each as field, expected and got; then how the flow is defined."""
    with pytest.raises(InvalidInput) as caught:
        shop.type.validate({"order": {"id": "x"}, "depht": 1, "depth": -1, "folder": 3})

    lines = str(caught.value).splitlines()
    assert [
        f"the inputs of flow {shop.type.name!r} are invalid:",
        "  order.id: expected a valid integer, unable to parse string as an integer, got 'x' (str)",
        "  day: expected date, got nothing",
        "  depth: expected greater than 0, got -1 (int)",
        f"  folder: expected Path, got 3 (int): Input is not a valid path for {Path!r}",
        "  depht: unknown input, did you mean depth?",
    ] == lines[:6]
    assert "→ it is defined as shop(order: Order, day: date, depth: " in lines[6]
    assert lines[6].endswith("-> list[str]")


@pytest.mark.parametrize(
    "name, instead",
    [
        ("queue", "task_routes"),
        ("countdown", "delay="),
        ("eta", "at="),
        ("expires", "deadline="),
        ("task_id", "idempotency_key="),
    ],
)
def test_option_of_celery_names_the_alternative(name: str, instead: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        shop.type.validate({name: 1})

    assert f"{name}: unknown input" in str(caught.value)
    assert instead in str(caught.value)


def test_missing_field_of_a_model_is_named() -> None:
    """A path leads into the input."""
    with pytest.raises(InvalidInput, match=r"order\.id: expected a value, got nothing"):
        shop.type.validate({"order": {}, "day": "2024-01-02"})


def test_long_values_are_cut_in_messages() -> None:
    """A message stays readable whatever was passed."""
    with pytest.raises(InvalidInput) as caught:
        shop.type.validate({"order": {"id": 1}, "day": "x" * 10_000})

    assert len(str(caught.value)) < 500


def test_positional_inputs_get_their_names() -> None:
    """Too many, and one given twice, are reported as inputs, not as a TypeError."""
    assert "shop" == shop.spec(Order(id=1), date(2024, 1, 2), 3).name.rpartition(".")[2]
    with pytest.raises(InvalidInput, match="takes 3 positional inputs, got 4"):
        shop.spec(Order(id=1), date(2024, 1, 2), 3, "x")  # type: ignore[call-arg,arg-type]
    with pytest.raises(InvalidInput, match="order: given twice"):
        shop.spec(Order(id=1), order=Order(id=2), day=date(2024, 1, 2))  # type: ignore[misc]


def test_type_that_json_cannot_give_is_refused() -> None:
    """A connection or a client is built in a step; the message says so."""

    class Client: ...

    @flow
    def crawl(client: Client) -> None: ...

    crawl.__wrapped__.__annotations__["client"] = Client  # type: ignore[attr-defined]

    with pytest.raises(InvalidFlow, match="build the object in a step"):
        crawl.spec(Client())


def test_annotation_that_cannot_be_read_is_refused() -> None:
    """A name that exists only for type checkers cannot be checked."""

    @flow
    def crawl(price: "Hidden") -> None: ...

    with pytest.raises(InvalidFlow, match="'Hidden' is not defined"):
        crawl.spec("1")  # type: ignore[arg-type]


def test_annotations_may_name_what_comes_later() -> None:
    """A class further down the module is found when the first run is submitted."""

    @flow
    def crawl(order: "Later") -> "Later":
        return order

    assert {"order": Later(id=3)} == crawl.type.validate({"order": {"id": 3}})
    assert Later is crawl.type.returns


class Later(BaseModel):
    id: int


def test_flow_without_annotations_takes_anything() -> None:
    """Unannotated inputs are passed as they are."""

    @flow
    def crawl(a, b=1):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - what is tested
        return [a, b]

    made: Any = crawl

    assert [{"x": 1}, 1] == made.spec({"x": 1}).output
    assert Any is made.type.returns
    with pytest.raises(
        InvalidInput, match=r"a: expected a value, got nothing(.|\n)*crawl\(a, b=1\)"
    ):
        made.spec()
