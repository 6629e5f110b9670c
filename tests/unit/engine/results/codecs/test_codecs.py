"""Values become bytes and come back the same; what cannot is refused with its place."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, ForwardRef
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from flowq.core.errors import InvalidFlow, InvalidOutput, NotSerializable, StepError
from flowq.core.results import StepFailure
from flowq.engine.results.codecs import adapter_for, coerce, decode, encode

NAN = float("nan")
INF = float("inf")


class Colour(Enum):
    RED = "red"


class Import(BaseModel):
    name: str
    line: int | None = None


class Facts(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: Path
    lines: int
    imports: list[Import] = []
    share: float = 0.0
    alias: str = Field(default="", alias="otherName")

    @computed_field
    def double(self) -> int:
        return 2 * self.lines


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, ser_json_bytes="base64", val_json_bytes="base64")

    at: datetime
    raw: bytes
    kinds: tuple[int, ...]


@dataclass
class Point:
    x: float
    y: Any


def stored(value: Any, annotation: Any = Any) -> Any:
    """The decoded data of a value, before a parameter's annotation looks at it."""
    encoded = encode(value, annotation, where="measure")
    assert isinstance(encoded.data, bytes)
    return decode(encoded.codec, encoded.data, media_type=encoded.media_type)


def passed(value: Any, annotation: Any) -> Any:
    """A value as a parameter of the same annotation gets it."""
    return coerce(stored(value, annotation), adapter_for(annotation), where="facts of report")


FACTS = Facts(path=Path("a.py"), lines=3, imports=[Import(name="os")], otherName="é")


@pytest.mark.parametrize(
    "value,annotation",
    [
        (1, int),
        (10**30, int),
        (True, bool),
        (1.5, float),
        ("", str),
        ("naïve 🙂\x00", str),
        (b"\x00\xff", bytes),
        (None, int | None),
        ([], list[int]),
        ({}, dict[str, int]),
        ([1, None, "x"], list[int | str | None]),
        ((1, "a"), tuple[int, str]),
        ({3, 4}, set[int]),
        ({1: "a", 2: "b"}, dict[int, str]),
        ({UUID(int=7): date(2026, 1, 2)}, dict[UUID, date]),
        (datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC), datetime),
        (timedelta(days=2, microseconds=5), timedelta),
        (Decimal("1.10"), Decimal),
        (UUID(int=5), UUID),
        (Colour.RED, Colour),
        (Path("no/such/file"), Path),
        (Point(1.0, [1]), Point),
        (FACTS, Facts),
        ([FACTS, FACTS], list[Facts]),
        ({"a": {"b": [FACTS]}}, dict[str, dict[str, list[Facts]]]),
        (
            Strict(at=datetime(2026, 1, 2, tzinfo=UTC), raw=b"\xff", kinds=(1, 2)),
            Strict,
        ),
        ([Point(1.0, None)], Annotated[list[Point], Field(min_length=1)]),
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_left(value: Any, annotation: Any) -> None:
    """Producer and consumer with the same annotation see equal values of equal types."""
    came = passed(value, annotation)
    assert value == came
    assert type(value) is type(came)


@pytest.mark.parametrize(
    "value,codec,media_type",
    [
        (None, "none", ""),
        (b"x", "bytes", "application/octet-stream"),
        (bytearray(b"x"), "bytes", "application/octet-stream"),
        ("x", "text", "text/plain; charset=utf-8"),
        ({"a": 1}, "json", "application/json"),
        (NAN, "json-floats", "application/json"),
    ],
)
def test_the_type_of_a_value_chooses_its_codec(value: Any, codec: str, media_type: str) -> None:
    encoded = encode(value)
    assert (codec, media_type) == (encoded.codec, encoded.media_type)


def test_bytes_are_handed_on_without_a_copy() -> None:
    data = b"x" * 1000
    encoded = encode(data, bytes)
    assert encoded.data is data
    assert decode("bytes", data) is data


@pytest.mark.parametrize("value", [[1, 2], [], (1, 2)])
def test_an_iterable_is_stored_as_a_list(value: Any) -> None:
    encoded = encode(value, Iterable[int])
    assert len(value) == encoded.length
    assert list(value) == stored(value, Iterable[int])


@pytest.mark.parametrize(
    "value,length",
    [([1, 2], 2), ((), 0), ({1}, 1), ({"a": 1}, None), ("abc", None), (b"abc", None), (3, None)],
)
def test_a_list_has_its_length_in_its_reference(value: Any, length: int | None) -> None:
    assert length == encode(value).length


def test_data_is_written_under_field_names_and_read_under_both() -> None:
    """`ref.alias` works in a flow, and plain data under the alias still makes a model."""
    data = stored(FACTS, Facts)
    assert data["alias"] == "é"
    assert "double" not in data
    adapter = adapter_for(Facts)
    named = coerce({"path": "a", "lines": 1, "otherName": "n"}, adapter, where="x")
    assert "n" == named.alias


# --- floats that JSON lacks --------------------------------------------------------------------


@pytest.mark.parametrize(
    "value,annotation",
    [
        ([NAN, INF, -INF, 1.0, None], Any),
        ([NAN, INF, -INF, 1.0, None], list[float | None]),
        ({"a": {"b": (NAN,)}}, Any),
        (Point(NAN, INF), Point),
        ([Point(NAN, [INF])], list[Point]),
        (Facts(path=Path("a"), lines=1, share=NAN), Facts),
        ({"x": Facts(path=Path("a"), lines=1, share=-INF)}, dict[str, Facts]),
        (Facts(path=Path("a"), lines=1, share=INF), Any),
    ],
    ids=repr,
)
def test_nan_and_infinities_survive(value: Any, annotation: Any) -> None:
    """They come back as floats, from text that any JSON parser takes."""
    encoded = encode(value, annotation)
    assert isinstance(encoded.data, bytes)
    assert "json-floats" == encoded.codec
    assert _strict_json(encoded.data)
    came = passed(value, annotation)
    plain = repr(value if annotation is not Any or not isinstance(value, Facts) else came)
    assert plain.replace("(nan,)", "[nan]") == repr(came)
    assert "nan" in repr(came) or "inf" in repr(came)


def test_a_nan_alone_survives() -> None:
    assert math.isnan(passed(NAN, float))
    assert math.isnan(stored(NAN))


def test_data_that_looks_like_a_marked_float_stays_what_it_is() -> None:
    value = [{"$float": "nan"}, {"$float": {"$float": [INF]}, "b": 1}]
    assert value == stored(value)


def test_text_that_says_nan_is_plain_json() -> None:
    value = {"a": "NaN", "b": None, "c": "Infinity"}
    assert "json" == encode(value).codec
    assert value == stored(value)


def _strict_json(data: bytes) -> bool:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    json.loads(data, parse_constant=refuse)
    return True


# --- what the producer may not return ----------------------------------------------------------


def test_every_problem_names_field_expected_and_got() -> None:
    value = {"path": "a", "lines": "x", "imports": [{"name": "os"}, {"line": 2}], "more": 1}
    with pytest.raises(InvalidOutput) as caught:
        encode(value, Facts, where="measure")
    assert (
        "measure returned a value that does not match its annotation: lines: expected integer, "
        "got 'x'; "
        "imports[1].name: expected a value, got none; more: unexpected field, got 1"
    ) == caught.value.message


@pytest.mark.parametrize(
    "value,annotation,text",
    [
        (
            None,
            int,
            "returned a value that does not match its annotation: expected integer, got None",
        ),
        (3, None, "expected None, got 3"),
        ("a", Facts, "got 'a'"),
        (object(), int, "expected integer, got a object"),
        (["x"] * 30, list[int], "and 20 more"),
        ("y" * 10_000, int, "..."),
        ([1, "x"], Iterable[int], "expected integer, got 'x'"),
    ],
)
def test_a_forbidden_value_is_reported(value: Any, annotation: Any, text: str) -> None:
    with pytest.raises(InvalidOutput) as caught:
        encode(value, annotation, where="measure")
    assert text in caught.value.message
    assert len(caught.value.message) < 700


def test_an_instance_changed_to_what_its_class_forbids_is_refused() -> None:
    facts = FACTS.model_copy(update={"lines": "x"})
    with pytest.raises(InvalidOutput, match="lines: expected integer, got 'x'"):
        encode(facts, Facts, where="measure")


class Opaque:
    pass


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    "value,annotation,text",
    [
        (Opaque(), Any, "Opaque"),
        (Opaque(), Opaque, "Opaque"),
        ({"a": [1, {"b": Opaque()}]}, Any, "Opaque at a[1].b"),
        ([Point(1.0, Opaque())], list[Point], "Opaque at [0].y"),
        ({"raw": b"\xff"}, Any, "bytes at raw: invalid utf-8"),
        (["ok", "\ud800"], Any, "str at [1]"),
        ("\ud800", str, "character 0"),
        (LOOP, Any, "contains itself"),
        (lambda: 1, Any, "function"),
    ],
)
def test_a_value_without_a_form_is_reported_with_its_place(
    value: Any, annotation: Any, text: str
) -> None:
    with pytest.raises(NotSerializable) as caught:
        encode(value, annotation, where="measure")
    assert caught.value.message.startswith("measure returned")
    assert text in caught.value.message
    assert caught.value.hint


def test_a_generator_is_refused_before_it_runs() -> None:
    """Reading it here would run the user's code where its failure is not the step's."""
    generator = (1 / 0 for _ in [1])
    with pytest.raises(NotSerializable, match="generator") as caught:
        encode(generator, list[int], where="measure")
    assert caught.value.hint is not None
    assert "list" in caught.value.hint


def test_an_annotation_that_cannot_be_checked_is_the_authors_error() -> None:
    with pytest.raises(InvalidFlow, match="cannot be checked"):
        adapter_for(ForwardRef("Nowhere"))


def test_equal_annotations_keep_their_own_order() -> None:
    """`int | str` equals `str | int`: a cache by equality would take one for the other."""
    one = Annotated[int | str, Field(union_mode="left_to_right")]
    other = Annotated[str | int, Field(union_mode="left_to_right")]
    assert 1 == adapter_for(one).validate_python("1")
    assert "1" == adapter_for(other).validate_python("1")
    assert adapter_for(one) is adapter_for(one)


# --- what the consumer gets --------------------------------------------------------------------

FAILURE = StepFailure(step="measure", index=1, error="SyntaxError", message="bad")


def test_failures_pass_among_results_as_instances() -> None:
    came = coerce(
        [{"path": "a", "lines": 1}, FAILURE],
        adapter_for(list[Facts | StepFailure]),
        where="facts of report",
    )
    assert [Facts(path=Path("a"), lines=1), FAILURE] == came


def test_a_strict_model_is_read_beside_a_failure() -> None:
    """A list with an instance in it is not read as JSON; strict models must work all the same."""
    came = coerce(
        [{"at": "2026-01-02T00:00:00Z", "raw": "", "kinds": [1]}, FAILURE],
        adapter_for(list[Strict | StepFailure]),
        where="x",
    )
    assert isinstance(came[0], Strict)


@pytest.mark.parametrize(
    "value,annotation,hint",
    [
        ([{"path": "a", "lines": 1}, FAILURE], list[Facts], "list[X | StepFailure]"),
        (FAILURE, Facts, "`X | StepFailure`"),
    ],
)
def test_a_failure_that_was_not_expected_says_how_to_expect_it(
    value: Any, annotation: Any, hint: str
) -> None:
    with pytest.raises(StepError, match="measure\\[1\\]: SyntaxError: bad") as caught:
        coerce(value, adapter_for(annotation), where="facts of report")
    assert caught.value.hint is not None
    assert hint in caught.value.hint


def test_a_value_that_does_not_fit_names_parameter_expected_and_got() -> None:
    with pytest.raises(StepError) as caught:
        coerce([1, "x"], adapter_for(list[int]), where="counts of report")
    assert (
        "counts of report does not match its annotation: [1]: expected integer, got 'x'"
    ) == caught.value.message


def test_without_an_annotation_data_passes_as_it_is() -> None:
    value = [object()]
    assert coerce(value, None, where="x") is value
    assert coerce(value, adapter_for(Any), where="x") is value
