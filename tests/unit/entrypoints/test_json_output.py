"""Whatever is printed as JSON is JSON, and whole."""

import json
import math
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.errors import NotSerializable
from flowq.entrypoints.cli.display import console, output
from flowq.entrypoints.flower.live.state import Delta
from flowq.entrypoints.json_output import json_data

MANY = 30_000


def refuse(word: str) -> Any:
    raise AssertionError(f"{word} is no JSON")


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    "value, printed",
    [
        ({"a": math.inf, "b": [math.nan]}, {"a": {"$float": "inf"}, "b": [{"$float": "nan"}]}),
        ({"$float": "nan"}, {"$float": "nan"}),
        ([Decimal("1.10"), b"\xff", (1, 2)], ["1.10", "_w==", [1, 2]]),
    ],
)
def test_a_value_is_printed_as_strict_json(
    value: Any, printed: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    console.print_json(value)
    assert printed == strict(capsys.readouterr().out)
    output.print_result(value)
    assert printed == strict(capsys.readouterr().out)


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame({"x": range(MANY)}),
        pl.DataFrame({"x": range(MANY)}),
        pa.table({"x": list(range(MANY))}),
    ],
)
def test_a_table_is_printed_whole(table: Any, capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"result": table})

    assert [{"x": n} for n in range(MANY)] == strict(capsys.readouterr().out)["result"]


def test_missing_parts_of_a_table_and_its_index_are_named() -> None:
    frame = pd.DataFrame({"at": [pd.NaT], "n": [pd.NA], "x": [math.nan]}, index=["row"])

    assert [{"index": "row", "at": None, "n": None, "x": {"$float": "nan"}}] == json_data(frame)


def test_an_array_is_printed_whole() -> None:
    assert [[0, 1], [2, 3]] == json_data(np.arange(4).reshape(2, 2))


def test_a_table_goes_into_a_pipe_as_its_file(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    output.print_result(pd.DataFrame({"x": range(MANY)}))

    assert capsysbinary.readouterr().out.startswith(b"PAR1")


def test_what_has_no_json_form_is_refused_and_not_described() -> None:
    with pytest.raises(NotSerializable, match="cannot be printed as JSON"):
        json_data({"a": object()})


def test_a_page_gets_strict_json() -> None:
    text = Delta("1", {"runs": [{"cost": math.nan}]}).sse()

    assert {"runs": [{"cost": {"$float": "nan"}}]} == strict(text.partition("data: ")[2])


@given(
    st.recursive(
        st.none() | st.floats() | st.text() | st.binary() | st.integers(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_any_value_is_printed_as_strict_json_that_looks_the_same_again(value: Any) -> None:
    text = json.dumps(json_data(value), allow_nan=False)

    assert strict(text) == json_data(strict(text))
