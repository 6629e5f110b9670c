"""`-p name=value`: JSON or text, as the annotation takes it."""

import io
from datetime import date
from pathlib import Path
from typing import Any, Literal

import click
import pytest

from flowq import flow
from flowq.entrypoints.cli.app.inputs import read


@flow
def many(  # type: ignore[no-untyped-def]  # noqa: PLR0917
    text: str = "",
    perhaps: str | None = None,
    number: int = 0,
    ratio: float = 0,
    flag: bool = False,  # noqa: FBT001, FBT002 - an input like any other
    numbers: list[int] | None = None,
    words: list[str] | None = None,
    path: Path = Path(),
    day: date | None = None,
    choice: Literal["1", "b"] = "b",
    anything: Any = None,
    bare=None,  # noqa: ANN001
) -> None:
    """Takes everything."""


@pytest.mark.parametrize(
    "pair, value",
    [
        ("text=5", "5"),
        ("text=a=b", "a=b"),
        ("text=", ""),
        ("text=null", "null"),
        ('text="quoted"', '"quoted"'),
        ("perhaps=5", "5"),
        ("perhaps=null", None),
        ("number=5", 5),
        ("number=five", "five"),
        ("ratio=1e3", 1000.0),
        ("flag=true", True),
        ("flag=yes", "yes"),
        ("numbers=[1, 2]", [1, 2]),
        ('words=["1"]', ["1"]),
        ("path=2024", "2024"),
        ("path=src/", "src/"),
        ("day=2024-01-02", "2024-01-02"),
        ("choice=1", "1"),
        ("anything=5", 5),
        ('anything={"a": null}', {"a": None}),
        ("anything=word", "word"),
        ("bare=[1]", [1]),
        ("unknown=1", 1),
    ],
)
def test_value_is_read_as_its_annotation_takes_it(pair: str, value: object) -> None:
    name = pair.partition("=")[0]

    given = read(many, [pair], None)[name]

    assert (value, type(value)) == (given, type(given))


def test_file_gives_inputs_and_options_win() -> None:
    file = io.StringIO('{"text": "from the file", "number": 1}')

    assert {"text": "from the file", "number": 2} == read(many, ["number=2"], file)


@pytest.mark.parametrize("pairs", [["number"], ["=5"], ["number=1", "number=2"]])
def test_pair_that_cannot_be_meant_is_refused(pairs: list[str]) -> None:
    with pytest.raises(click.BadParameter):
        read(many, pairs, None)


@pytest.mark.parametrize("text", ["", "[1]", "{", "5"])
def test_file_that_is_no_object_is_refused(text: str) -> None:
    file = io.StringIO(text)
    file.name = "inputs.json"

    with pytest.raises(click.BadParameter, match=r"inputs\.json"):
        read(many, [], file)
