"""The inputs of a flow: its function's parameters, checked by pydantic before anything is recorded.

All problems are told at once, each as field, expected and got, because whoever submits a run from a
form or a command line would otherwise meet them one by one.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property
from inspect import Parameter
from typing import Any, Final, get_type_hints

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation

from flowq.authoring.refs import Ref
from flowq.authoring.signatures import describe, describe_type
from flowq.core.errors import InvalidFlow, InvalidInput

_SHOWN = 80
#: What Celery's `apply_async` takes and `enqueue` does not, with what there is instead.
_INSTEAD: Final = {
    "priority": "; runs have no priority: give urgent ones a queue and workers of their own, "
    'my_step.options(queue="urgent")',
    "queue": '; a queue belongs to a step: my_step.options(queue="…"), or task_routes of the app',
    **dict.fromkeys(
        ("countdown", "eta"),
        "; a run begins at once: await flowq.sleep(…) in an `async def` flow, or use celery beat",
    ),
    "expires": "; deadline=… says when a run has to be over",
    "task_id": "; idempotency_key=… makes a run the only one of its kind",
}


class Inputs:
    """The declared inputs of one flow."""

    def __init__(self, flow: str, label: str, function: Callable[..., Any]) -> None:
        """Read the signature.

        Args:
            flow: Registered name, for messages.
            label: The function's short name.
            function: The flow's function.

        Raises:
            InvalidFlow: a parameter has no name that an input could have.
        """
        self._flow = flow
        self._label = label
        self._function = function
        self.signature = inspect.signature(function)
        for parameter in self.signature.parameters.values():
            if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
                raise InvalidFlow(
                    f"flow {flow!r} has the parameter `{parameter}`, but inputs are given by name",
                    hint="name each input; for any number of them take one dict or list",
                )

    @cached_property
    def returns(self) -> Any:
        """The return annotation; `Any` when there is none."""
        return self._hints.get("return", Any)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Give positional inputs their names.

        Raises:
            InvalidInput: there are too many, or one is given twice.
        """
        names = [
            name
            for name, parameter in self.signature.parameters.items()
            if parameter.kind is Parameter.POSITIONAL_OR_KEYWORD
        ]
        problems = [f"{name}: given twice" for name in names[: len(args)] if name in kwargs]
        if len(args) > len(names):
            problems.append(f"takes {len(names)} positional inputs, got {len(args)}")
        if problems:
            raise self._invalid(problems)
        return {**dict(zip(names, args, strict=False)), **kwargs}

    def check(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return all inputs, defaults included, as values of their annotated types.

        Raises:
            InvalidInput: some are missing, unknown or of another type; names each of them.
        """
        checked: dict[str, Any] = {}
        problems: list[str] = []
        for name, parameter in self.signature.parameters.items():
            if name in raw:
                try:
                    checked[name] = self._check_one(name, raw[name])
                except ValidationError as error:
                    problems += _problems(name, self._expected(name), error)
            elif parameter.default is Parameter.empty:
                problems.append(f"{name}: expected {self._expected(name)}, got nothing")
            else:
                checked[name] = parameter.default
        problems += self._unknown(raw)
        if problems:
            raise self._invalid(problems)
        return checked

    def _check_one(self, name: str, value: Any) -> Any:
        if isinstance(value, Ref):
            raise self._invalid([f"{name}: expected a value, got {value!r}"])
        adapter = self._adapters.get(name)
        return value if adapter is None else adapter.validate_python(value)

    def _unknown(self, raw: Mapping[str, Any]) -> Iterator[str]:
        for name in raw:
            if name not in self.signature.parameters:
                near = get_close_matches(name, self.signature.parameters, n=1)
                why = f", did you mean {near[0]}?" if near else _INSTEAD.get(name, "")
                yield f"{name}: no such input{why}"

    def _invalid(self, problems: list[str]) -> InvalidInput:
        listed = "".join(f"\n  {problem}" for problem in problems)
        return InvalidInput(
            f"flow {self._flow!r} refuses its inputs:{listed}",
            hint=f"it is defined as {describe(self._label, self.signature)}",
        )

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return get_type_hints(self._function, include_extras=True)
        except NameError as error:
            raise InvalidFlow(
                f"an annotation of flow {self._flow!r} cannot be read: {error}",
                hint="define or import that name in the flow's module, not only for type checkers",
            ) from error

    @cached_property
    def _adapters(self) -> dict[str, TypeAdapter[Any]]:
        adapters: dict[str, TypeAdapter[Any]] = {}
        for name in self.signature.parameters:
            if name not in self._hints:
                continue
            try:
                adapters[name] = TypeAdapter(self._hints[name])
            except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation) as error:
                raise InvalidFlow(
                    f"input {name!r} of flow {self._flow!r} has the type "
                    f"{self._expected(name)}, which cannot be read from JSON",
                    hint="take text, numbers, lists, dicts or models, and build it in a step",
                ) from error
        return adapters

    def _expected(self, name: str) -> str:
        annotation = self.signature.parameters[name].annotation
        return "a value" if annotation is Parameter.empty else describe_type(annotation)


class ModelInputs(Inputs):
    """The inputs of a flow that one pydantic model describes."""

    def __init__(self, flow: str, label: str, model: type[BaseModel]) -> None:
        """Read the fields.

        Args:
            flow: Registered name, for messages.
            label: The short name of the flow.
            model: The model.
        """
        self._flow = flow
        self._label = label
        self._model = model
        self.signature = inspect.Signature(
            [
                Parameter(
                    name,
                    Parameter.KEYWORD_ONLY,
                    annotation=field.annotation,
                    default=Parameter.empty if field.is_required() else field.get_default(),
                )
                for name, field in model.model_fields.items()
            ]
        )

    def check(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return all inputs, defaults included, as plain data of the model's types.

        Raises:
            InvalidInput: some are missing or of another type, or the model refuses them together.
        """
        for name, value in raw.items():
            if isinstance(value, Ref):
                raise self._invalid([f"{name}: expected a value, got {value!r}"])
        try:
            checked = self._model.model_validate(dict(raw), by_alias=True, by_name=True)
        except ValidationError as error:
            raise self._invalid(list(_problems("", "a value", error))) from None
        return checked.model_dump()


class AnyInputs(Inputs):
    """The inputs of a flow that takes any."""

    def __init__(self, flow: str, label: str) -> None:
        """Describe them.

        Args:
            flow: Registered name, for messages.
            label: The short name of the flow.
        """
        self._flow = flow
        self._label = label
        self.signature = inspect.Signature([Parameter("inputs", Parameter.VAR_KEYWORD)])

    def check(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the inputs as they are."""
        return dict(raw)


def _problems(name: str, declared: str, error: ValidationError) -> Iterator[str]:
    """Yield each problem of one input as field, expected, got."""
    for problem in error.errors(include_url=False):
        path = (name, *problem["loc"]) if name else problem["loc"]
        field = ".".join(map(str, path)) or "the inputs"
        if problem["type"] == "missing":
            yield f"{field}: expected a value, got nothing"
            continue
        _, said, expected = problem["msg"].partition("Input should be ")
        value = problem["input"]
        shown = repr(value)
        if len(shown) > _SHOWN:
            shown = shown[:_SHOWN] + "…"
        got = f"got {shown} ({type(value).__name__})"
        if said:
            yield f"{field}: expected {expected}, {got}"
        else:
            wanted = "another value" if problem["loc"] else declared
            yield f"{field}: expected {wanted}, {got}: {problem['msg']}"
