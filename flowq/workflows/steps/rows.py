"""The steps around a row-wise step: rows of a value, parts of them, and the results together.

    value ──► id::rows ──► id (a map: one task for each row) ──► id::joined
    value ──► id::parts ─► id (a map: one task for each part, `<slug>:rows`) ──► id::joined

A part is `[first, end]`: the value itself is passed by reference, and each task takes its rows from
it. Rows of a table are mappings. With `on_error: collect` a failed row has a `RowFailure`, or the
`StepFailure` of its item, in place of its result.
"""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import GenericAlias
from typing import Any, Final, ForwardRef, Union

from pydantic import BaseModel, ConfigDict

from flowq.authoring.definitions.steps import step
from flowq.core.errors import StepError
from flowq.core.results import StepFailure
from flowq.engine.registry.registry import RegisteredStep, registry
from flowq.engine.results.codecs import coerce
from flowq.engine.runtime.context import current_or_none
from flowq.workflows.steps import tables

#: Parameters of `<slug>:rows` beside those of the function.
PART: Final = "flowq_part"
COLLECT: Final = "flowq_collect"


class RowFailure(BaseModel):
    """Takes the place of the result of a row that has failed."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    flowq_failed_row: int  #: Its index in all rows, from 0.
    error: str  #: `ValueError: no`.


def task_name(slug: str) -> str:
    """Return the name of the step that calls a step type for each of several rows."""
    return f"{slug}:rows"


@dataclass(frozen=True, slots=True)
class _Row:
    """The call of a function for one row."""

    index: int
    call: Callable[[], Any]
    collect: bool

    def failed(self, error: Exception) -> RowFailure:
        """Return the failure in place of a result; raises it again unless failures are kept."""
        if not self.collect:
            error.add_note(f"in row {self.index}")
            raise error
        text = f"{type(error).__name__}: {error}"
        return RowFailure(flowq_failed_row=self.index, error=text[:1000])


def by_rows(registered: RegisteredStep, parameter: str) -> Callable[..., Any]:
    """Return a function that calls a step's function for each row of a part.

    Args:
        registered: The step.
        parameter: The data parameter that gets a row.
    """
    # Found by its name when it is called: a definition that is executed again is the same one.
    name = registered.name

    def calls(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[_Row]:
        registered = registry.step(name)
        function = registered.function
        part, collect = kwargs.pop(PART, None), kwargs.pop(COLLECT, False)
        bound = registered.signature.bind(*args, **kwargs)
        reader = registered.parameters.get(parameter)
        value, (first, end) = bound.arguments[parameter], part or (0, None)

        def call(row: Any, index: int) -> Any:
            where = f"{parameter} of {name} in row {index}"
            bound.arguments[parameter] = coerce(row, reader, where=where)
            return function(*bound.args, **bound.kwargs)

        part_rows = tables.rows_of(value)[first:end]
        return [
            _Row(index, functools.partial(call, row, index), collect)
            for index, row in enumerate(part_rows, first)
        ]

    def run(*args: Any, **kwargs: Any) -> list[Any]:
        results: list[Any] = []
        for row in calls(args, kwargs):
            _end_if_cancelled()
            try:
                results.append(row.call())
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises
                results.append(row.failed(error))
        return results

    async def run_async(*args: Any, **kwargs: Any) -> list[Any]:
        results: list[Any] = []
        for row in calls(args, kwargs):
            _end_if_cancelled()
            try:
                results.append(await row.call())
            except Exception as error:  # noqa: BLE001 - whatever the user's function raises
                results.append(row.failed(error))
        return results

    return _as_step(run_async if registered.is_async else run, registered.function, parameter)


def _as_step(
    made: Callable[..., Any], function: Callable[..., Any], parameter: str
) -> Callable[..., Any]:
    """Give a function over rows the name, the parameters and the annotations of a step."""
    functools.update_wrapper(made, function)
    signature = inspect.signature(function)
    extra = [
        inspect.Parameter(PART, inspect.Parameter.KEYWORD_ONLY, default=None),
        inspect.Parameter(COLLECT, inspect.Parameter.KEYWORD_ONLY, default=False),
    ]
    parameters = [*signature.parameters.values(), *extra]
    vars(made)["__signature__"] = signature.replace(parameters=parameters)
    notes = dict(getattr(function, "__annotations__", {}))
    notes.pop(parameter, None)
    returned = notes.pop("return", Any)
    # A text is evaluated with the others, when all names are defined.
    each = ForwardRef(returned) if isinstance(returned, str) else returned
    if each is not Any:
        each = Union[each, RowFailure]  # noqa: UP007 - `|` takes no forward reference
    made.__annotations__ = {**notes, "return": GenericAlias(list, (each,))}
    return made


def _end_if_cancelled() -> None:
    context = current_or_none()
    if context is not None:
        context.raise_if_cancelled()


# --- the steps of flowq itself -------------------------------------------------------------------


@step(name="flowq.workflow.rows")
def rows(value: Any) -> Any:
    """Return the rows of a value: a list as it is, a table as a list of mappings."""
    return tables.rows_of(value)


@step(name="flowq.workflow.parts")
def parts(value: Any, workers: int) -> list[tuple[int, int]]:
    """Return the first row and the end of each of so many contiguous parts of the same size.

    The first parts have one row more than the last ones; none is empty.
    """
    size, count = tables.size_of(value), workers
    count = min(count, size)
    if not count:
        return []
    each, more = divmod(size, count)
    ends = [each * (at + 1) + min(at + 1, more) for at in range(count)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


@step(name="flowq.workflow.joined")
def joined(
    results: Any,
    source: Any,
    geometry: str = "apply",
    *,
    parts: bool = False,
    collect: bool = False,
) -> Any:
    """Return the value of a row-wise step.

    Args:
        results: The result of each row; of each part, a list of these.
        source: The value that had the rows.
        geometry: What becomes of the results.
        parts: Whether the results are those of parts.
        collect: Whether failed rows are listed beside the good ones.

    Raises:
        StepError: the results do not fit the geometry, or the step has failed.
    """
    if isinstance(results, StepFailure):
        raise StepError(str(results))
    if geometry == "vectorize":
        return _of_same_length(results, source)
    flat = [one for part in results for one in part] if parts else list(results)
    failures = {at: error for at, one in enumerate(flat) if (error := _error_of(one))}
    good = [at for at in range(len(flat)) if at not in failures]
    if geometry == "filter":
        value = tables.taken(source, [at for at in good if flat[at]])
    else:
        shaped = [flat[at] for at in good]
        value = tables.like(source, _expanded(shaped, good) if geometry == "expand" else shaped)
    if not collect:
        return value
    failed = [{"index": at, "error": error} for at, error in failures.items()]
    return {"ok": value, "failed": failed}


def _error_of(result: Any) -> str | None:
    """Return the error of a row that has failed."""
    if isinstance(result, StepFailure):
        return f"{result.error}: {result.message}"
    if isinstance(result, Mapping) and result.keys() == RowFailure.model_fields.keys():
        return str(result["error"])
    return None


def _expanded(results: list[Any], indices: list[int]) -> list[Any]:
    flat: list[Any] = []
    for at, one in zip(indices, results, strict=True):
        found = tables.rows_or_none(one)
        if found is None:
            raise StepError(
                f"geometry expand: row {at} gave a {type(one).__name__}, not a list",
                hint="return a list for each row, [] for none",
            )
        flat += found
    return flat


def _of_same_length(result: Any, source: Any) -> Any:
    made, given = tables.size_of(result), tables.size_of(source)
    if made != given:
        raise StepError(
            f"geometry vectorize: {given:,} rows were given, {made:,} came back",
            hint="return one result for each row, in the same order",
        )
    return result
