"""`@step_type`: makes a function a step of flows that workflows and their editors know by a slug.

    @step_type("tokenize", name="Split into words", metadata={"category": "text"})
    def tokenize(text: str, lower: bool = True) -> list[str]: ...

The function becomes a flowq step of that name, and so a Celery task; it can still be called. Its
*data parameters* (the first one, or those of `inputs=`) get values of other steps by reference; all
others are its configuration. A second task, `<slug>:rows`, calls it for each of several rows.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypedDict, Unpack, get_args

from flowq.authoring.calls.options import Duration
from flowq.authoring.definitions.caching import CacheOption
from flowq.authoring.definitions.limiting import ConcurrencyOption, RateOption
from flowq.authoring.definitions.steps import Step as FlowStep
from flowq.authoring.definitions.steps import step
from flowq.core.errors import InvalidFlow
from flowq.engine.registry.callables import is_generator
from flowq.engine.runtime.context import StepContext
from flowq.engine.runtime.middleware import Middleware, Next, StepCall
from flowq.workflows.document.models import Geometry, Mode
from flowq.workflows.steps import rows
from flowq.workflows.steps.step_types import StepType, registry
from flowq.workflows.steps.streaming import streamed

_SLUG: Final = re.compile(r"[a-z0-9_.-]{1,100}")
#: Geometries of functions that get one row, and of those that get all of them.
_BY_ROW: Final = frozenset({"expand", "filter"})
_AT_ONCE: Final = frozenset({"reduce", "vectorize"})
_VARIADIC: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class StepOptions(TypedDict, total=False):
    """The options of the step that a step type is."""

    retries: int | None  #: Attempts after the first.
    retry_delay: Duration | None  #: Seconds before the second attempt.
    timeout: Duration | None  #: Seconds for one attempt.
    queue: str | None  #: Celery queue.
    cache: CacheOption  #: Reuse results of equal inputs.
    concurrency: ConcurrencyOption  #: How many may run at once.
    rate: RateOption  #: How many may begin within a time.
    middleware: Iterable[Middleware]  #: Code around the function in each attempt.


def step_type(
    slug: str,
    *,
    name: str | None = None,
    input_type: str | type = "",
    output_type: str | type = "",
    execution_mode: Mode | None = None,
    geometry: Geometry | None = None,
    inputs: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[StepOptions],
) -> Callable[[Callable[..., Any]], FlowStep[..., Any]]:
    """Register a function as a step type; returns it as a step of flows.

    Args:
        slug: Its name in documents and that of its Celery task: 1 to 100 of `a-z 0-9 _ . -`.
        name: A name for people; made from the slug when left out.
        input_type: What it takes, for people; a type, or text.
        output_type: What it makes, likewise.
        execution_mode: `batch`, `row_iterative` or `streaming`; left out: by the geometry, and
            `streaming` for a generator.
        geometry: `apply`, `expand`, `filter`, `reduce` or `vectorize`.
        inputs: The data parameters; the first parameter when left out.
        outputs: Keys that its result, a mapping, must have.
        metadata: JSON data for front ends; `requires_gpu` chooses the queue of `gpu`.
        options: Those of `@step`; see `StepOptions`. When a strategy makes parts of the rows, they
            count for a part.

    Raises:
        InvalidFlow: the function cannot be one, or the slug is taken.
        RegistryFrozenError: the registry is frozen.
    """

    def decorate(function: Callable[..., Any]) -> FlowStep[..., Any]:
        registry.refuse_frozen(slug)
        streams = is_generator(function)
        mode = execution_mode or _mode(geometry, streams=streams)
        _check(slug, mode, geometry, streams=streams)
        data = _data_parameters(slug, function, inputs)
        middleware = tuple(options.get("middleware", ()))
        own: StepOptions = {**options, "middleware": (*middleware, *_checks(outputs))}
        made = step(name=slug, **own)(streamed(function) if streams else function)
        if data and not streams:
            step(name=rows.task_name(slug), middleware=middleware)(rows.by_rows(made.type, data[0]))
        label = name or slug.replace("_", " ").replace("-", " ").capitalize()
        types = _text(input_type), _text(output_type)
        more = dict(metadata or {})
        registry.register(
            StepType(slug, made, label, data, tuple(outputs), *types, mode, geometry, more)
        )
        return made

    return decorate


def _mode(geometry: Geometry | None, *, streams: bool) -> Mode:
    if streams:
        return "streaming"
    return "row_iterative" if geometry in _BY_ROW else "batch"


def _check(slug: Any, mode: Any, geometry: Any, *, streams: bool) -> None:
    """Refuse what cannot be a step type."""

    def refuse(what: str, hint: str) -> InvalidFlow:
        return InvalidFlow(f"step type {slug!r}: {what}", hint=hint)

    if not isinstance(slug, str) or _SLUG.fullmatch(slug) is None:
        raise refuse("a slug has 1 to 100 of a-z 0-9 _ . -", 'e.g. @step_type("split_words")')
    if mode not in get_args(Mode):
        raise refuse(f"execution_mode is {mode!r}", f"one of {', '.join(get_args(Mode))}")
    if geometry is not None and geometry not in get_args(Geometry):
        raise refuse(f"geometry is {geometry!r}", f"one of {', '.join(get_args(Geometry))}")
    if streams != (mode == "streaming"):
        what = "is a generator" if streams else "is no generator"
        raise refuse(f"its function {what}, and execution_mode is {mode}", "yield exactly then")
    if (mode == "batch" and geometry in _BY_ROW) or (mode != "batch" and geometry in _AT_ONCE):
        raise refuse(
            f"geometry {geometry} does not fit execution_mode {mode}",
            "leave execution_mode out: reduce and vectorize get all rows, expand and filter one",
        )


def _data_parameters(
    slug: str, function: Callable[..., Any], named: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the data parameters of a function."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise InvalidFlow(f"step type {slug!r}: {error}", hint="use a `def` function") from error
    if any(one.kind in _VARIADIC for one in parameters.values()):
        raise InvalidFlow(
            f"step type {slug!r}: its function takes *args or **kwargs",
            hint="name each parameter, so that a form can be made",
        )
    if named is None:
        return tuple(parameters)[:1]
    unknown = [name for name in named if name not in parameters]
    if isinstance(named, str) or unknown:
        raise InvalidFlow(
            f"step type {slug!r}: inputs={named!r}, its parameters are {', '.join(parameters)}",
            hint="give a list of their names; [] for a source",
        )
    return tuple(named)


def _text(value: str | type) -> str:
    return value if isinstance(value, str) else getattr(value, "__name__", str(value))


def _checks(outputs: Sequence[str]) -> list[Middleware]:
    return [_Keys(tuple(outputs))] if outputs else []


@dataclass(frozen=True)
class _Keys:
    """Middleware that checks that a result has the declared keys."""

    keys: tuple[str, ...]

    async def __call__(self, step: StepCall, _context: StepContext, call_next: Next) -> Any:
        result = await call_next()
        if not isinstance(result, Mapping):
            kind = type(result).__name__
            raise TypeError(f"{step.name} returned a {kind}, not a mapping with its outputs")
        missing = [key for key in self.keys if key not in result]
        if missing:
            raise ValueError(f"{step.name} returned no {', '.join(map(repr, missing))}")
        return result
