"""Tables and arrays: pandas and polars as Parquet, pyarrow as Arrow IPC, numpy as `.npy`.

These libraries are optional, and imported only when a value needs one: the class of a value names
its library, and loading uses the codec's name in the reference. Arrays of Python objects are
refused: they could only be pickled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any, Final

from flowq.core.errors import NotSerializable, StepError


@dataclass(frozen=True, slots=True)
class Format:
    """How one class of one library is stored.

    Attributes:
        codec: Name of the codec in references.
        library: Module that is needed to read it.
        suffix: Suffix of a file with its bytes.
        as_rows: Returns all of it as rows, or as nested lists.
    """

    codec: str
    media_type: str
    library: str
    suffix: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    as_rows: Callable[[Any], list[Any]]

    @property
    def missing(self) -> str:
        """The command that installs a missing library; polars needs no other."""
        extra = "" if self.library == "polars" else " 'flowq[tables]'"
        own = f" {self.library}" if self.library in {"pandas", "polars"} else ""
        return f"pip install{extra}{own}"


def _dump_polars(frame: Any) -> bytes:
    buffer = BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _dump_arrow(table: Any) -> bytes:
    arrow, ipc = import_module("pyarrow"), import_module("pyarrow.ipc")
    sink = arrow.BufferOutputStream()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _dump_numpy(array: Any) -> bytes:
    buffer = BytesIO()
    import_module("numpy").save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _pandas_rows(frame: Any) -> list[Any]:
    pandas = import_module("pandas")
    # An index other than the row number is stored as a column.
    plain = isinstance(frame.index, pandas.RangeIndex) and frame.index.name is None
    rows = (frame if plain else frame.reset_index()).to_dict(orient="records")
    nothing = (pandas.NA, pandas.NaT)
    return [
        {
            str(key): None if any(item is one for one in nothing) else item
            for key, item in row.items()
        }
        for row in rows
    ]


_PARQUET: Final = "application/vnd.apache.parquet"
_ARROW: Final = "application/vnd.apache.arrow.stream"

#: By the top module and the name of a class. Subclasses are left out: they would come back changed.
_FORMATS: Final = {
    ("pandas", "DataFrame"): Format(
        *("parquet-pandas", _PARQUET, "pandas", "parquet"),
        dump=lambda frame: frame.to_parquet(),
        load=lambda data: import_module("pandas").read_parquet(BytesIO(data)),
        as_rows=_pandas_rows,
    ),
    ("polars", "DataFrame"): Format(
        *("parquet-polars", _PARQUET, "polars", "parquet"),
        dump=_dump_polars,
        load=lambda data: import_module("polars").read_parquet(BytesIO(data)),
        as_rows=lambda frame: frame.to_dicts(),
    ),
    ("pyarrow", "Table"): Format(
        *("arrow", _ARROW, "pyarrow", "arrow"),
        dump=_dump_arrow,
        load=lambda data: import_module("pyarrow.ipc").open_stream(data).read_all(),
        as_rows=lambda table: table.to_pylist(),
    ),
    ("numpy", "ndarray"): Format(
        *("npy", "application/x-npy", "numpy", "npy"),
        dump=_dump_numpy,
        load=lambda data: import_module("numpy").load(BytesIO(data), allow_pickle=False),
        as_rows=lambda array: array.tolist(),
    ),
}
_BY_CODEC: Final = {each.codec: each for each in _FORMATS.values()}


def format_of(value: Any) -> Format | None:
    """Return how a value is stored if it is a table or an array, else None."""
    kind = type(value)
    return _FORMATS.get((kind.__module__.partition(".")[0], kind.__qualname__))


def as_rows(value: Any) -> list[Any] | None:
    """Return a table as a list of rows, or an array as lists of numbers; None for other values."""
    form = format_of(value)
    return None if form is None else form.as_rows(value)


def rows(value: Any) -> int | None:
    """Return the number of rows of a table, or of items of an array; None for a single number."""
    shape = value.shape
    return int(shape[0]) if shape else None


def dump(value: Any, form: Format, *, where: str) -> bytes:
    """Return the bytes of a table or an array.

    Raises:
        NotSerializable: it holds Python objects, or the library lacks a part that it needs.
    """
    try:
        return form.dump(value)
    except ImportError as error:
        raise NotSerializable(
            f"{where} returned a {form.library} value that cannot be stored: "
            "no library that can write it is installed",
            hint=form.missing,
        ) from error
    except Exception as error:  # Each library has its own errors, which are not imported here.
        raise NotSerializable(
            f"{where} returned a {form.library} value that cannot be stored: {error}",
            hint="use one type per column or array; flowq never pickles Python objects",
        ) from error


def load(codec: str, data: bytes) -> Any:
    """Return the table or array of a codec.

    Raises:
        StepError: no such codec, or its library is not installed here.
    """
    form = _BY_CODEC.get(codec)
    if form is None:
        raise StepError(
            f"a result was written by the codec {codec!r}, which this flowq does not know",
            hint="upgrade flowq on this worker to the version that wrote the result",
        )
    try:
        return form.load(data)
    except ImportError as error:
        raise StepError(
            f"a {form.library} result cannot be read here: {str(error).partition(chr(10))[0]}",
            hint=form.missing,
        ) from error
