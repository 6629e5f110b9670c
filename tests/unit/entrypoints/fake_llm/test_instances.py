"""Whatever a schema asks for, what is made of it fits."""

from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, TypeAdapter

from flowq.entrypoints.fake_llm.instances import instance


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Leaf(BaseModel):
    name: str
    colour: Colour


class Tree(BaseModel):
    children: list["Tree"] = []
    parent: "Tree | None" = None
    leaf: Leaf


class Everything(BaseModel):
    text: str
    short: Annotated[str, Field(max_length=5)]
    long: Annotated[str, Field(min_length=50)]
    number: Annotated[int, Field(gt=3, lt=6)]
    share: Annotated[float, Field(ge=0.5, le=0.75)]
    money: Decimal
    yes: bool
    day: date
    moment: datetime
    key: UUID
    kind: Literal["a", "b"]
    either: int | str
    maybe: str | None
    many: Annotated[list[int], Field(min_length=4)]
    few: Annotated[list[str], Field(max_length=1)]
    pair: tuple[int, str] | None = None
    words: dict[str, int]
    leaf: Leaf


@pytest.mark.parametrize("model", [Everything, Leaf, Tree])
def test_instance_fits_its_schema(model: type[BaseModel]) -> None:
    adapter = TypeAdapter(model)

    made = instance(adapter.json_schema(), "a question")

    adapter.validate_python(made)
    assert made == instance(adapter.json_schema(), "a question")


def test_texts_quote_the_prompt() -> None:
    assert {"name": "name of 'why is it so'", "colour": "red"} == instance(
        TypeAdapter(Leaf).json_schema(), "why is   it so"
    )
