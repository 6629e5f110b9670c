"""Step types and flows by name: what this process knows how to run.

Authoring registers, workers look up. An unknown name is not an error of the run: another worker may
know it, so the step waits for that worker.
"""

import inspect
import json
import sys
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from inspect import Parameter
from types import GenericAlias
from typing import Any, ParamSpecArgs, ParamSpecKwargs, Unpack, get_args, get_origin

from pydantic import TypeAdapter

from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.limits.queueing import QueueingSpec
from flowq.core.names import check_name
from flowq.core.schedules.spec import ScheduleSpec
from flowq.core.spec import FlowSpec
from flowq.engine.registry.callables import annotations_of, code_of, is_async, signature_of
from flowq.engine.registry.origins import Origin, origin_of
from flowq.engine.results.codecs import adapter_for
from flowq.engine.runtime.middleware import Middleware


def _whole(hint: Any, kind: Any) -> Any:
    """Return the type of a parameter's whole value: for a variadic one, of all its arguments."""
    if get_origin(hint) is Unpack:
        return get_args(hint)[0]
    if kind is Parameter.VAR_POSITIONAL:
        return GenericAlias(list, (hint,))
    return GenericAlias(dict, (str, hint)) if kind is Parameter.VAR_KEYWORD else hint


def _validator(annotation: Any, where: str) -> TypeAdapter[Any]:
    try:
        return adapter_for(annotation)
    except InvalidFlow as error:
        raise InvalidFlow(f"{where}: {error.message}", hint=error.hint) from error


@dataclass(frozen=True)
class RegisteredStep:
    """A Python callable that can be a step.

    Attributes:
        name: Name of its Celery task.
        function: The callable; a coroutine function makes it an async step.
        cache_key: From its arguments to the value by which cached results are found.
        model: From its arguments to the name of the model that it calls, if it calls one.
        owner: The step class, if it is written as a class.
        models: What such a class validates with.
        names: Names for its annotations beside those of its module.
        middleware: What runs around its function, the outermost first.
        is_fake: Whether it stands for another one in a test; then it takes what it names.
    """

    name: str
    function: Callable[..., Any]
    cache_key: Callable[..., Any] | None = None
    model: Callable[[Mapping[str, Any]], str] | None = None
    owner: type | None = None
    models: tuple[type, ...] = ()
    names: Mapping[str, Any] = field(default_factory=dict, compare=False)
    middleware: tuple[Middleware, ...] = ()
    is_fake: bool = False

    @cached_property
    def signature(self) -> inspect.Signature:
        """The callable's parameters."""
        return signature_of(self.function, f"step {self.name!r}")

    def lacks(self, inputs: Iterable[str]) -> str | None:
        """Return the first input that the callable has no parameter for."""
        known = self.signature.parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in known.values())
        if self.is_fake or takes_all:
            return None
        return next((name for name in inputs if name not in known), None)

    @property
    def key_names(self) -> Collection[str]:
        """Names that keys of its limits may use: its parameters, and `model` if it calls one."""
        return {*self.signature.parameters, *(("model",) if self.model else ())}

    @cached_property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return is_async(self.function)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """Its evaluated annotations; parameters without one are left out."""
        return annotations_of(self.function, self.names, f"step {self.name!r}")

    @cached_property
    def parameters(self) -> Mapping[str, TypeAdapter[Any]]:
        """Validators of its annotated parameters; for `*args: T` that of a list of T."""
        kinds = {name: item.kind for name, item in self.signature.parameters.items()}
        return {
            name: _validator(_whole(hint, kinds[name]), f"{name} of step {self.name!r}")
            for name, hint in self.hints.items()
            if name in kinds and not isinstance(hint, ParamSpecArgs | ParamSpecKwargs)
        }

    def check(self) -> None:
        """Check once that its annotations can be evaluated.

        Raises:
            InvalidFlow: an annotation cannot be evaluated, or uses an undefined name.
        """
        if "_checked" in self.__dict__:
            return
        where = f"step {self.name!r}"
        known = self.parameters
        _validator(self.returns, f"the result of {where}")
        for model in self.models:
            _validator(model, f"{model.__name__} of {where}")
        self.__dict__["_checked"] = known

    @property
    def returns(self) -> Any:
        """Its return annotation; `Any` when there is none."""
        return self.hints.get("return", Any)


def _by_name(args: tuple[Any, ...], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if args:
        raise InvalidInput(f"{len(args)} inputs have no name", hint="give inputs by name")
    return inputs


def _nothing_to_verify(_checked: Mapping[str, Any], _stored: Mapping[str, Any]) -> None:
    """Accept inputs that are JSON data already."""


@dataclass(frozen=True)
class RegisteredFlow:
    """A flow that can be traced into a spec.

    Attributes:
        name: Unique name.
        trace: From checked inputs to the spec of this run.
        validate: From raw inputs to checked ones; raises `InvalidInput`.
        read: From stored inputs, as JSON data, back to checked inputs.
        verify: Raises `InvalidInput` if `read` would make other inputs of this data.
        annotation: Finds its return annotation; called late, since it may name a class that the
            module defines further down.
        program: Of an `async def` flow: the coroutine function, called with checked inputs by
            parameter. None for a `def` flow.
        bind: From positional and named inputs to inputs by parameter; raises `InvalidInput`.
        subject: The function or class that defines it.
        input_schema: From where the schemas of models are, as `#/$defs/{model}`, to the JSON Schema
            of its inputs.
        queueing: From checked inputs and the user of a run to when it begins, beside others.
        outline: Of a program that is told by its inputs what to call: from stored inputs to its
            calls, if none fails, as nodes of a graph.
    """

    name: str
    trace: Callable[[Mapping[str, Any]], FlowSpec]
    validate: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    annotation: Callable[[], Any] = lambda: Any
    program: Callable[..., Coroutine[Any, Any, Any]] | None = None
    bind: Callable[[tuple[Any, ...], Mapping[str, Any]], Mapping[str, Any]] = _by_name
    subject: Any = None
    read: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    verify: Callable[[Mapping[str, Any], Mapping[str, Any]], None] = _nothing_to_verify
    input_schema: Callable[[str], dict[str, Any]] = lambda _: {"type": "object"}
    queueing: Callable[[Mapping[str, Any], str | None], QueueingSpec] | None = None
    outline: Callable[[Mapping[str, Any]], FlowSpec] | None = None

    @cached_property
    def inputs_described(self) -> Any:
        """The JSON Schema of its inputs as data, made once for all engines of this process."""
        return json.loads(json.dumps(self.input_schema("#/$defs/{model}")))

    @cached_property
    def returns(self) -> Any:
        """Its return annotation; `Any` when there is none."""
        return self.annotation()


@dataclass(frozen=True)
class DeclaredSchedule:
    """A schedule that code declares, with the place of its declaration, `file:line`."""

    spec: ScheduleSpec
    place: str


#: Who gets the names of steps and flows, and those that are forgotten again.
_Listener = tuple[Callable[[str], None], Callable[[Collection[str]], None]]


@dataclass
class Registry:
    """The step types, flows and schedules that have been defined in this process."""

    steps: dict[str, RegisteredStep] = field(default_factory=dict)
    flows: dict[str, RegisteredFlow] = field(default_factory=dict)
    middleware: tuple[Middleware, ...] = ()  #: Around every step, the outermost first.
    schedules: dict[str, DeclaredSchedule] = field(default_factory=dict)
    _origins: dict[str, tuple[str, Origin]] = field(default_factory=dict)
    _unchecked: dict[str, RegisteredStep] = field(default_factory=dict)
    _listeners: list[_Listener] = field(default_factory=list)

    def on_name(
        self, listener: Callable[[str], None], forget: Callable[[Collection[str]], None]
    ) -> None:
        """Call `listener` with the name of every step and flow, now and for later definitions.

        Args:
            listener: Gets the names.
            forget: Gets those that are forgotten again; see `forgetting`.
        """
        self._listeners.append((listener, forget))
        for name in [*self.steps, *self.flows]:
            listener(name)

    def step(self, name: str) -> RegisteredStep:
        """Return a step type.

        Raises:
            InvalidFlow: it is not defined in this process.
        """
        try:
            return self.steps[name]
        except KeyError:
            raise InvalidFlow(
                f"step {name!r} is not defined on this worker",
                hint="start workers with the module that defines it",
            ) from None

    def add_step(self, step: RegisteredStep) -> None:
        """Register a step type. The same definition again, as in a reload, replaces it.

        Raises:
            InvalidFlow: the name is not allowed, or taken.
        """
        self._claim(step.name, "step", origin_of(step.owner or step.function, step.cache_key))
        self.steps[step.name] = self._unchecked[step.name] = step

    def add_flow(self, flow: RegisteredFlow) -> None:
        """Register a flow; as `add_step`."""
        self._claim(flow.name, "flow", origin_of(flow.subject or flow.trace))
        self.flows[flow.name] = flow

    def add_schedule(self, declared: DeclaredSchedule) -> None:
        """Register a schedule; declared at the same place again, it replaces the first.

        Raises:
            InvalidFlow: another place declares a schedule of that name.
        """
        known = self.schedules.get(declared.spec.name)
        if known is not None and known.place != declared.place and known.spec != declared.spec:
            raise InvalidFlow(
                f"two schedules are named {declared.spec.name!r}: {known.place} and "
                f"{declared.place}",
                hint="give one of them another name",
            )
        self.schedules[declared.spec.name] = declared

    def use(self, middleware: Middleware) -> None:
        """Run middleware around every step, inside of what is there already."""
        if not any(one is middleware for one in self.middleware):
            self.middleware += (middleware,)

    def check_steps(self) -> None:
        """Check the annotations of all steps that are defined so far.

        Raises:
            InvalidFlow: one cannot be evaluated, or uses a name that its module does not define.
        """
        for name, step in list(self._unchecked.items()):
            module = sys.modules.get(getattr(code_of(step.function), "__module__", None) or "")
            if getattr(getattr(module, "__spec__", None), "_initializing", False):
                continue  # its module is being imported, and may define a name further down
            step.check()
            self._unchecked.pop(name, None)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Forget, at the end of the block, what is defined within it."""
        all_: list[dict[str, Any]] = [
            *(self.steps, self.flows, self.schedules),
            *(self._origins, self._unchecked),
        ]
        before = [dict(one) for one in all_]
        middleware = self.middleware
        try:
            yield
        finally:
            self.middleware = middleware
            if new := (self.steps.keys() | self.flows.keys()) - (before[0].keys() | before[1]):
                for _, forget in self._listeners:
                    forget(new)
            for one, was in zip(all_, before, strict=True):
                one.clear()
                one.update(was)

    def place_of(self, name: str) -> str:
        """Return where a step or a flow is defined: its qualified name, file and line."""
        return str(self._origins[name][1])

    def _claim(self, name: str, what: str, origin: Origin) -> None:
        check_name(name, what, origin.place, own=origin.is_flowqs)
        if name in self._origins:
            used, known = self._origins[name]
            if used != what or not origin.is_again(known):
                both = f"two {what}s are" if used == what else f"a {used} and a {what} are"
                raise InvalidFlow(
                    f"{both} named {name!r}: {known} and {origin}",
                    hint=_another_name(what, origin, known),
                )
            self._origins[name] = what, origin
            return
        self._origins[name] = what, origin
        try:
            for listener, _ in self._listeners:
                listener(name)
        except BaseException:
            del self._origins[name]
            raise


def _another_name(what: str, origin: Origin, known: Origin) -> str:
    is_class = isinstance(origin.subject, type)
    if origin.place == known.place:
        how = f'{what}_name = f"…"' if is_class else f'@{what}(name=f"…")'
        return (
            f"a definition that is made many times needs a new name each time: {how}; "
            "in a test: with flowq.testing.definitions(): …"
        )
    how = f'{what}_name = "…"' if is_class else f'@{what}(name="…")'
    return f"give one of them another name: {how}"


#: The registry of this process.
registry = Registry()
