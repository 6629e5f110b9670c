"""Functions that run in place of steps in a test.

A fake of a step has the arguments of the step and returns its result. A fake of a step class gets
the inputs that the call gives, and returns the content alone: a text, or an instance of `Outputs`.
Then the fake of a call of a model is one line, and the next step gets a `StepResult`.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flowq.authoring.definitions.base_steps import BaseStep
from flowq.authoring.definitions.steps import Step
from flowq.core.errors import InvalidFlow
from flowq.engine.registry.registry import RegisteredStep
from flowq.llm.results import StepMetadata, StepResult

#: From a step, or a step class, to the function that replaces it. The key is Any, since the keys of
#: a Mapping are invariant: a dict of one step class would be of another type.
Fakes = Mapping[Any, Callable[..., Any]]


def faked(step: Step[..., Any] | type[BaseStep], function: Callable[..., Any]) -> RegisteredStep:
    """Return a step type with the name of another one, and a function of a test.

    Raises:
        InvalidFlow: it is not a step, or a class without a `step_name`.
    """
    if isinstance(step, type):
        found = vars(step).get("_step")
        if not isinstance(found, Step):
            raise InvalidFlow(
                f"{step!r} cannot be faked: it is not a step",
                hint="give a function with @step, or a step class with a step_name",
            )
        function = _with_content(step, function, found.type.returns)
        step = found
    own = step.type
    return RegisteredStep(
        own.name, function, model=own.model, middleware=own.middleware, is_fake=True
    )


def _with_content(
    cls: type[BaseStep], function: Callable[..., Any], returns: Any
) -> Callable[..., Any]:
    """Return a function that makes the result of a step class from what a fake returns."""

    async def fake(*given: Any, **inputs: Any) -> Any:
        content = function(*given, **inputs)
        if inspect.isawaitable(content):
            content = await content
        if isinstance(content, StepResult):
            return content
        metadata = StepMetadata(step_type=cls.step_type, prompt_file=cls.prompt_file)
        return returns(step_name=cls.step_name, output_content=content, metadata=metadata)

    fake.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    fake.__annotations__ = {"return": returns}
    return fake
