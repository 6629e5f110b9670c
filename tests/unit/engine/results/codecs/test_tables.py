"""Tables and arrays travel in their own formats, if their library is there."""

import subprocess
import sys
from typing import Any

import pytest

from flowq.core.errors import InvalidOutput, NotSerializable, StepError
from flowq.engine.results.codecs import adapter_for, coerce, decode, encode


def passed(value: Any, annotation: Any) -> tuple[str, int | None, Any]:
    encoded = encode(value, annotation, where="measure")
    assert isinstance(encoded.data, bytes)
    came = coerce(decode(encoded.codec, encoded.data), adapter_for(annotation), where="x")
    return encoded.codec, encoded.length, came


def test_a_pandas_frame_travels_as_parquet() -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}, index=[5, 6])
    for annotation in (Any, pandas.DataFrame):
        codec, length, came = passed(frame, annotation)
        assert ("parquet-pandas", 2) == (codec, length)
        pandas.testing.assert_frame_equal(frame, came)


def test_a_polars_frame_travels_as_parquet() -> None:
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, None]})
    codec, length, came = passed(frame, polars.DataFrame)
    assert ("parquet-polars", 2) == (codec, length)
    assert frame.equals(came)


def test_an_arrow_table_travels_as_arrow() -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"a": [1, 2, 3], "b": [[1], [], None]})
    codec, length, came = passed(table, arrow.Table)
    assert ("arrow", 3) == (codec, length)
    assert table.equals(came)


def test_an_array_travels_as_npy() -> None:
    numpy = pytest.importorskip("numpy")
    for array in (numpy.arange(6.0).reshape(3, 2), numpy.array([1 + 2j]), numpy.zeros((0, 4))):
        codec, length, came = passed(array, numpy.ndarray)
        assert ("npy", len(array)) == (codec, length)
        numpy.testing.assert_array_equal(array, came)
        assert array.dtype == came.dtype
    assert encode(numpy.array(3)).length is None


def test_numbers_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    value = {"n": numpy.int64(3), "x": [numpy.float32(0.5), numpy.bool_(True)]}
    assert {"n": 3, "x": [0.5, True]} == passed(value, Any)[2]
    assert repr([float("nan")]) == repr(passed([numpy.float64("nan")], Any)[2])


def test_objects_in_an_array_are_refused() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(NotSerializable, match=r"measure.*numpy.*allow_pickle"):
        passed(numpy.array([object()]), Any)


def test_subclasses_and_parts_are_refused_rather_than_stored_as_less() -> None:
    numpy = pytest.importorskip("numpy")
    with pytest.raises(NotSerializable, match="MaskedArray"):
        passed(numpy.ma.masked_array([1, 2], mask=[0, 1]), Any)
    with pytest.raises(NotSerializable, match=r"ndarray at a\[0\]"):
        passed({"a": [numpy.zeros(2)]}, Any)


def test_a_table_where_another_type_is_annotated_is_reported() -> None:
    pandas = pytest.importorskip("pandas")
    with pytest.raises(InvalidOutput, match="expected integer, got a DataFrame"):
        passed(pandas.DataFrame(), int)


def test_an_unknown_codec_is_reported() -> None:
    with pytest.raises(StepError, match="'feather'") as caught:
        decode("feather", b"")
    assert "upgrade flowq" in str(caught.value)


def test_a_missing_library_is_reported_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(StepError, match="pip install polars"):
        decode("parquet-polars", b"")


def test_no_table_library_is_imported_for_other_values() -> None:
    code = (
        "import sys; from typing import Any;"
        "from flowq.engine.results.codecs import encode, decode;"
        "decode('json', encode({'a': [1.5]}, Any).data);"
        "print([n for n in ('numpy', 'pandas', 'polars', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert b"[]" == done.stdout.strip()


def test_table_of_another_library_is_named() -> None:
    """Both classes have one name, so the library makes the difference."""
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    table = pandas.DataFrame({"a": [1]})
    with pytest.raises(StepError, match="an instance of DataFrame, got a DataFrame of pandas"):
        coerce(table, adapter_for(polars.DataFrame), where="rows of report")
