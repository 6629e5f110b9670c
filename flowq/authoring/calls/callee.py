"""The callee of a call in a flow: a step type or another flow.

Arguments are bound in the same way whether a call becomes a node or runs as plain Python, and at
the call, so that a wrong call is refused there and not an hour later on a worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import BoundArguments, Parameter, Signature
from typing import Any

from pydantic import TypeAdapter

from flowq.authoring.calls.signatures import describe
from flowq.authoring.calls.tracing import Trace, active, caller
from flowq.authoring.naming import short_name
from flowq.core.errors import InvalidFlow
from flowq.core.spec import StepKind
from flowq.engine.registry.callables import is_async
from flowq.engine.replay import Execution

_ANY_NAME = Parameter.VAR_KEYWORD
_NAMED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, slots=True)
class Callee:
    """A step type or a flow that can be called in a flow."""

    kind: StepKind
    name: str  #: Registered name.
    function: Callable[..., Any]
    signature: Signature
    check: Callable[[Mapping[str, Any]], object] | None = None  #: Of a flow: checks its inputs.
    #: Finds the validators of its annotated parameters.
    readers: Callable[[], Mapping[str, TypeAdapter[Any]]] = dict
    ready: Callable[[], object] = lambda: None  #: Checks its annotations; raises `InvalidFlow`.
    owner: type | None = None  #: Its class, if it is written as one.

    @property
    def label(self) -> str:
        """The short name, used in keys of nodes."""
        return short_name(self.owner or self.function, self.name)

    @property
    def code(self) -> str:
        """The expression that is called in Python, for hints."""
        if self.owner is None:
            return self.label
        return self.owner.__name__ + (".flow" if self.kind is StepKind.FLOW else "()")

    @property
    def is_async(self) -> bool:
        """Whether a call returns a coroutine."""
        return is_async(self.function)

    def bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> BoundArguments:
        """Bind the arguments of a call to the parameters.

        Raises:
            InvalidFlow: they do not fit.
        """
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise self._wrong_call(str(error)) from None

    def bind_map(self, constants: Mapping[str, Any]) -> tuple[str, BoundArguments]:
        """Bind the constants of a map; the first parameter without a constant gets the item.

        Returns:
            The name of that parameter, and the arguments with None in its place.

        Raises:
            InvalidFlow: no parameter is left for the item, or the constants do not fit.
        """
        named = [item for item in self.signature.parameters.values() if item.kind in _NAMED]
        parameter = next((item.name for item in named if item.name not in constants), None)
        if parameter is None:
            raise self._wrong_call(
                "no parameter is left for the item of the map; pass fewer arguments"
            )
        given = {**constants, parameter: None}
        positional = [item.name for item in named if item.kind is Parameter.POSITIONAL_ONLY]
        args = tuple(given.pop(name) for name in positional if name in given)
        return parameter, self.bind(args, given)

    def map_arguments(self, tolerate: Any, constants: dict[str, Any]) -> tuple[dict[str, Any], Any]:
        """Decide what `tolerate` means in a call of `.map`: a parameter of that name has priority.

        Returns:
            The constants, and the tolerance of the map.
        """
        if "tolerate" in self.signature.parameters and tolerate is not None:
            return {**constants, "tolerate": tolerate}, None
        return constants, tolerate

    def flat(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by the names in the row: those of a flow are its inputs.

        Only a `BaseFlow` without `Inputs` takes inputs of any name, as `**inputs`.
        """
        if self.kind is not StepKind.FLOW:
            return dict(arguments)
        variadic = next(
            (one.name for one in self.signature.parameters.values() if one.kind is _ANY_NAME), None
        )
        rest = {name: value for name, value in arguments.items() if name != variadic}
        return {**rest, **arguments.get(variadic, {})} if variadic else rest

    def _wrong_call(self, problem: str) -> InvalidFlow:
        mode = active()
        flow = f"flow {mode.flow!r}: " if isinstance(mode, Trace | Execution) else ""
        return InvalidFlow(
            f"{flow}{self.kind} {self.label!r} is called wrongly at {caller()}: {problem}",
            hint=f"it is defined as {describe(self.label, self.signature)}",
        )
