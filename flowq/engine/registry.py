"""Step types and flows by name: what this process knows how to run.

Authoring registers, workers look up. A name that is unknown here is not an error of the run:
another worker may know it, so its step waits for that one.
"""

import inspect
import sys
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from types import GenericAlias
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from flowq.core.errors import InvalidFlow, InvalidInput
from flowq.core.spec import FlowSpec
from flowq.engine.codecs import adapter_for

#: What a variadic parameter holds as a whole, from what one of its arguments is.
_WHOLE: Mapping[Any, Callable[[Any], Any]] = {
    Parameter.VAR_POSITIONAL: lambda one: GenericAlias(list, (one,)),
    Parameter.VAR_KEYWORD: lambda one: GenericAlias(dict, (str, one)),
}


@dataclass(frozen=True)
class StepType:
    """A Python callable that can be a step.

    Attributes:
        name: Name of its Celery task.
        function: The callable; a coroutine function makes it an async step.
        cache_key: From its arguments to what tells calls apart whose results may be the same.
        model: From its arguments to the name of the model that it asks, if it is a step that does.
    """

    name: str
    function: Callable[..., Any]
    cache_key: Callable[..., Any] | None = None
    model: Callable[[Mapping[str, Any]], str] | None = None

    @cached_property
    def signature(self) -> inspect.Signature:
        """The callable's parameters."""
        return inspect.signature(self.function)

    @property
    def key_names(self) -> Collection[str]:
        """What the keys of its limits may name: its parameters, and `model` if it asks one."""
        return {*self.signature.parameters, *(("model",) if self.model else ())}

    @cached_property
    def is_async(self) -> bool:
        """Whether it runs on the event loop."""
        return inspect.iscoroutinefunction(self.function)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """Its annotations, resolved; what it lacks is not here."""
        return get_type_hints(self.function, include_extras=True)

    @cached_property
    def parameters(self) -> Mapping[str, TypeAdapter[Any]]:
        """Validators of its annotated parameters; of `*args: T` it is that of a list of T."""
        kinds = {name: item.kind for name, item in self.signature.parameters.items()}
        return {
            name: adapter_for(_WHOLE.get(kinds[name], lambda one: one)(hint))
            for name, hint in self.hints.items()
            if name in kinds
        }

    @property
    def returns(self) -> Any:
        """Its return annotation; `Any` when there is none."""
        return self.hints.get("return", Any)


def _by_name(args: tuple[Any, ...], inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    if args:
        raise InvalidInput(f"{len(args)} inputs have no name", hint="give inputs by name")
    return inputs


@dataclass(frozen=True)
class FlowType:
    """A flow that can be traced into a spec.

    Attributes:
        name: Unique name.
        trace: From checked inputs to the spec of this run.
        validate: From raw inputs to checked ones; raises `InvalidInput`.
        annotation: Finds its return annotation; asked late, since it may name a class that the
            module defines further down.
        program: Of an `async def` flow: the coroutine function, called with checked inputs by
            parameter. None for a `def` flow.
        owner: The class that it is written as; two of them must not have one name.
        bind: From positional and named inputs to inputs by parameter; raises `InvalidInput`.
    """

    name: str
    trace: Callable[[Mapping[str, Any]], FlowSpec]
    validate: Callable[[Mapping[str, Any]], Mapping[str, Any]]
    annotation: Callable[[], Any] = lambda: Any
    program: Callable[..., Coroutine[Any, Any, Any]] | None = None
    owner: type | None = None
    bind: Callable[[tuple[Any, ...], Mapping[str, Any]], Mapping[str, Any]] = _by_name

    @cached_property
    def returns(self) -> Any:
        """Its return annotation; `Any` when there is none."""
        return self.annotation()


@dataclass
class Registry:
    """The step types and flows that have been defined in this process."""

    steps: dict[str, StepType] = field(default_factory=dict)
    flows: dict[str, FlowType] = field(default_factory=dict)
    _listeners: list[Callable[[str], None]] = field(default_factory=list)

    def on_name(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the name of every step and flow, known already or defined later."""
        self._listeners.append(listener)
        for name in [*self.steps, *self.flows]:
            listener(name)

    def step(self, name: str) -> StepType:
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

    def add_step(self, step: StepType) -> None:
        """Register a step type. Defining the same function again (a reload) replaces it.

        Raises:
            InvalidFlow: another function has this name.
        """
        known = self.steps.get(step.name)
        if known is not None and not _same(known.function, step.function):
            raise InvalidFlow(
                f"two steps are named {step.name!r}: {_where(known.function)} and "
                f"{_where(step.function)}",
                hint='give one of them another name: @step(name="…")',
            )
        self.steps[step.name] = step
        self._announce(step.name)

    def add_flow(self, flow: FlowType) -> None:
        """Register a flow; the newest definition of a name counts.

        Raises:
            InvalidFlow: a flow that is written as a class has this name, or is to get it.
        """
        known = self.flows.get(flow.name)
        if known is not None and (known.owner or flow.owner) is not None:
            one, other = known.owner or known.program, flow.owner or flow.program
            if one is None or other is None or not _same(one, other):
                taken = f" by {_where(one)}" if one is not None else ""
                raise InvalidFlow(
                    f"the flow_name {flow.name!r} is taken{taken}",
                    hint="names of flows are unique: give one of them another",
                )
        self.flows[flow.name] = flow
        self._announce(flow.name)

    def _announce(self, name: str) -> None:
        for listener in self._listeners:
            listener(name)


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    # A script that is also imported defines its steps twice, as `__main__` and under its own name.
    same_file = _file(one) is not None and _file(one) == _file(other)
    return _where(one) == _where(other) or (same_file and one.__qualname__ == other.__qualname__)


def _file(function: Callable[..., Any]) -> str | None:
    inner = inspect.unwrap(function)
    code = getattr(inner, "__code__", None)
    # A step that is a class has no code of its own, but a module.
    file = (
        code.co_filename if code else getattr(sys.modules.get(inner.__module__), "__file__", None)
    )
    return str(Path(file).resolve()) if file else None


def _where(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


#: The registry of this process.
registry = Registry()
