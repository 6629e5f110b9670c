"""The inputs of a flow: its function's parameters, checked by pydantic before anything is recorded.

All problems are reported at once, each as field, expected and got, for users of forms and commands.

Given inputs are checked once (`check`). Stored inputs are read as JSON data (`read`), in each
replay of a program and when a child run begins. Before a run is accepted, `verify` checks that both
give the same values.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property, partial
from inspect import Parameter
from types import MappingProxyType
from typing import Any, Final

from pydantic import BaseModel, PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import override

from flowq.authoring.calls.input_problems import input_problems
from flowq.authoring.calls.refs import Ref
from flowq.authoring.calls.signatures import describe, describe_type
from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.engine.registry.callables import annotations_of, signature_of
from flowq.engine.replay.values import LazyResult
from flowq.engine.results.codecs.annotations import adapter_for, read
from flowq.engine.results.codecs.comparing import Difference, unreadable
from flowq.engine.results.codecs.read_back import (
    describe_path,
    difference,
    difference_of_form,
    difference_of_parts,
)

#: Options of Celery's `apply_async` that `enqueue` lacks, with the alternatives.
_INSTEAD: Final = {
    "queue": '; a queue belongs to a step: my_step.options(queue="…"), or task_routes of the app',
    "countdown": "; delay=timedelta(…) is how long a run waits before it begins",
    "eta": "; at=datetime(…) is when a run begins",
    "expires": "; deadline=… is the time by which a run has to end",
    "task_id": "; idempotency_key=… starts at most one run per key",
}


class InputSchema:
    """The declared inputs of one flow."""

    #: The pydantic model that describes all of them, if there is one.
    model: type[BaseModel] | None = None

    def __init__(
        self, flow: str, label: str, function: Callable[..., Any], names: Mapping[str, Any]
    ) -> None:
        """Read the signature.

        Args:
            flow: Registered name, for messages.
            label: The function's short name.
            function: The flow's function.
            names: Names for its annotations beside those of its module.

        Raises:
            InvalidFlow: a parameter cannot be an input, because of its name.
        """
        self._flow = flow
        self._label = label
        self._function = function
        self._names = names
        self.signature = signature_of(function, f"flow {flow!r}")
        for parameter in self.signature.parameters.values():
            if parameter.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY):
                raise InvalidFlow(
                    f"flow {flow!r} has the parameter `{parameter}`, but inputs are given by name",
                    hint="name each input; for any number of inputs use one dict or list",
                )

    @cached_property
    def returns(self) -> Any:
        """The return annotation; `Any` when there is none."""
        return self._hints.get("return", Any)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Name positional inputs.

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
            InvalidInput: some are missing, unknown or of another type; names all of them.
        """
        self.ready()
        return self._each(raw, self._check_one)

    def read(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return stored inputs as values of their annotated types.

        Raises:
            InvalidInput: they are not what the flow takes (any more).
        """
        self.ready()
        return self._each(stored, self._read_one)

    def verify(self, checked: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        """Refuse inputs that would not come back as they are.

        Args:
            checked: The value of `check`.
            stored: The JSON data that is stored for it.

        Raises:
            InvalidInput: names each of them.
        """
        found = ((name, self._lost(name, checked[name], stored[name])) for name in checked)
        self._refuse({name: difference for name, difference in found if difference})

    def _refuse(self, lost: Mapping[str, Difference]) -> None:
        if not lost:
            return
        listed = "".join(
            f"\n  {name}{describe_path(difference)}" for name, difference in lost.items()
        )
        raise InvalidInput(
            f"inputs of flow {self._flow!r} would change when they are stored:{listed}",
            hint=next(iter(lost.values())).hint,
        )

    def _lost(self, name: str, value: Any, stored: Any) -> Difference | None:
        adapter = self.adapters.get(name)
        if adapter is None:
            return difference_of_form(value, stored)
        try:
            return difference(value, stored, adapter)
        except ValidationError as error:
            if self._is_default(name, stored):  # `x: int = None` is read as it is, see `_read_one`
                return None
            return Difference((), unreadable(error))

    def _each(self, given: Mapping[str, Any], make: Callable[[str, Any], Any]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        problems: list[str] = []
        for name, parameter in self.signature.parameters.items():
            if name in given:
                try:
                    made[name] = make(name, given[name])
                except ValidationError as error:
                    problems += input_problems(name, self._expected(name), error)
            elif parameter.default is Parameter.empty:
                problems.append(f"{name}: expected {self._expected(name)}, got nothing")
            else:
                made[name] = parameter.default
        problems += self._unknown(given)
        if problems:
            raise self._invalid(problems)
        return made

    def _check_one(self, name: str, value: Any) -> Any:
        if isinstance(value, Ref):
            raise self._invalid([f"{name}: expected a value, got {value!r}"])
        if isinstance(value, LazyResult):
            return value  # it is read when the child run begins
        adapter = self.adapters.get(name)
        return value if adapter is None else adapter.validate_python(value)

    def _read_one(self, name: str, value: Any) -> Any:
        adapter = self.adapters.get(name)
        if adapter is None:
            return value
        try:
            return read(value, adapter)
        except ValidationError:
            if self._is_default(name, value):
                return self.signature.parameters[name].default
            raise

    def _is_default(self, name: str, stored: Any) -> bool:
        """Return whether stored data is that of a default, which no annotation has checked."""
        default = self.signature.parameters[name].default
        return default is not Parameter.empty and difference_of_form(default, stored) is None

    def _unknown(self, raw: Mapping[str, Any]) -> Iterator[str]:
        for name in raw:
            if name not in self.signature.parameters:
                near = get_close_matches(name, self.signature.parameters, n=1)
                why = f", did you mean {near[0]}?" if near else _INSTEAD.get(name, "")
                yield f"{name}: unknown input{why}"

    def _invalid(self, problems: list[str]) -> InvalidInput:
        listed = "".join(f"\n  {problem}" for problem in problems)
        return InvalidInput(
            f"the inputs of flow {self._flow!r} are invalid:{listed}",
            hint=f"it is defined as {describe(self._label, self.signature)}",
        )

    def resolve(self) -> None:
        """Evaluate the annotations.

        Raises:
            InvalidFlow: an annotation cannot be evaluated, or uses a name that is not defined
            (yet).
        """
        assert self._hints is not None

    def ready(self) -> None:
        """Check once that values of all annotations can be read.

        Raises:
            InvalidFlow: one cannot be evaluated, or uses an undefined name.
        """
        if "ready" not in self.__dict__:
            self._check_annotations()
            self.__dict__["ready"] = self.ready

    def _check_annotations(self) -> None:
        assert self.adapters is not None
        self._check_annotation(self.returns, "result")

    def _check_annotation(self, annotation: Any, what: str) -> None:
        try:
            adapter_for(annotation)
        except InvalidFlow as error:
            raise InvalidFlow(
                f"the {what} of flow {self._flow!r}: {error.message}", hint=error.hint
            ) from error

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return annotations_of(self._function, self._names, f"flow {self._flow!r}")

    @cached_property
    def adapters(self) -> Mapping[str, TypeAdapter[Any]]:
        """The validators of the annotated parameters."""
        adapters: dict[str, TypeAdapter[Any]] = {}
        for name in self.signature.parameters:
            if name not in self._hints:
                continue
            try:
                adapters[name] = TypeAdapter(self._hints[name])
            except PydanticUserError as error:
                why = str(error).partition("\n")[0]
                raise InvalidFlow(
                    f"input {name!r} of flow {self._flow!r} has the type "
                    f"{self._expected(name)}, which flowq cannot read from JSON: {why}",
                    hint="use text, numbers, lists, dicts or models, and build the object in a "
                    "step",
                ) from error
        return adapters

    def _expected(self, name: str) -> str:
        annotation = self.signature.parameters[name].annotation
        return "a value" if annotation is Parameter.empty else describe_type(annotation)


class ModelInputs(InputSchema):
    """The inputs of a flow that one pydantic model describes."""

    model: type[BaseModel]
    #: The model checks them together.
    adapters: Mapping[str, TypeAdapter[Any]] = MappingProxyType({})

    def __init__(self, flow: str, label: str, model: type[BaseModel]) -> None:
        self._flow = flow
        self._label = label
        self.model = model
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

    @override
    def check(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        self.ready()
        for name, value in raw.items():
            if isinstance(value, Ref):
                raise self._invalid([f"{name}: expected a value, got {value!r}"])
        given = {
            name: value.load() if isinstance(value, LazyResult) else value
            for name, value in raw.items()
        }
        try:
            checked = self.model.model_validate(given, by_alias=True, by_name=True)
        except ValidationError as error:
            raise self._invalid(list(input_problems("", "a value", error))) from None
        dumped = checked.model_dump()
        self._compare(checked, partial(self._again, dumped))
        return dumped

    @override
    def read(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._read(stored).model_dump()
        except ValidationError as error:
            raise self._invalid(list(input_problems("", "a value", error))) from None

    @override
    def verify(self, checked: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        self._compare(dict(checked), lambda: self._read(stored).model_dump())

    def _compare(self, given: Any, again: Callable[[], Any]) -> None:
        try:
            found = difference_of_parts(given, again(), adapter_for(self.model))
        except ValidationError as error:
            found = Difference((), unreadable(error))
        if found:
            self._refuse({"Inputs": found})

    def _again(self, dumped: Mapping[str, Any]) -> BaseModel:
        given = self._given(dumped)
        return self.model.model_validate(given, strict=False, by_alias=True, by_name=True)

    def _read(self, stored: Mapping[str, Any]) -> BaseModel:
        model: BaseModel = read(self._given(stored), adapter_for(self.model))
        return model

    def _given(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return data without the fields that the model computes."""
        return {key: data[key] for key in data if key not in self.model.model_computed_fields}

    @override
    def _check_annotations(self) -> None:
        self._check_annotation(self.model, "Inputs")


class AnyInputs(InputSchema):
    """The inputs of a flow that accepts any inputs."""

    adapters: Mapping[str, TypeAdapter[Any]] = MappingProxyType({})

    def __init__(self, flow: str, label: str) -> None:
        self._flow = flow
        self._label = label
        self.signature = inspect.Signature([Parameter("inputs", Parameter.VAR_KEYWORD)])

    @override
    def _check_annotations(self) -> None:
        """Do nothing: there are none."""

    @override
    def check(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return dict(raw)

    @override
    def read(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        return dict(stored)

    @override
    def verify(self, checked: Mapping[str, Any], stored: Mapping[str, Any]) -> None:
        found = difference_of_form(dict(checked), dict(stored))
        if found:
            self._refuse({"inputs": found})
