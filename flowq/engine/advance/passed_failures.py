"""A failed item of one map that is an item of the next map: it is passed on, and not run.

In `parse.map(fetch.map(urls, tolerate="10%"))` the page of a URL that could not be fetched is a
`StepFailure`. A step whose annotation allows it (`page: str | StepFailure`) is called with it. For
any other step the item fails immediately: its code is not called and there is no retry. Readers of
the map's results get the failure of `fetch`, with its item and index. The item counts as failed for
the tolerance of this map too.
"""

from collections.abc import Mapping
from inspect import BoundArguments
from typing import Any, Final

from pydantic import ValidationError

from flowq.core.errors import StepError, WorkerOutdated
from flowq.core.results import StepFailure
from flowq.core.spec import StepSpec
from flowq.engine.model.rows import Claim, Outcome
from flowq.engine.registry.registry import RegisteredStep
from flowq.engine.results.codecs import adapter_for, coerce
from flowq.engine.results.codecs.described import described

#: The key in a row's metadata under which the passed failure is.
FAILURE: Final = "failure"
_FIELDS: Final = frozenset(StepFailure.model_fields)
HINT: Final = (
    "passed-on failures count in this map too: let its tolerate= allow them, or annotate the "
    "parameter `X | StepFailure` to be called"
)


class PassedFailure(StepError):
    """The item of a map is a failure of an earlier step."""

    def __init__(self, failure: StepFailure) -> None:
        super().__init__(f"passed on from {failure}", hint=HINT)
        self.failure = failure

    def __reduce__(self) -> tuple[Any, ...]:
        return PassedFailure, (self.failure,)

    def outcome(self, execution_time_ms: int) -> Outcome:
        """Return what is recorded in the item's row."""
        return Outcome(
            execution_time_ms=execution_time_ms,
            error_type=self.failure.error,
            error_message=f"{self.failure.message} (passed on from {self.failure.place})",
            metadata=described(
                {"item": self.failure.item, FAILURE: self.failure.model_dump(mode="json")}
            ),
        )


def bind(
    claim: Claim, step_type: RegisteredStep, step: StepSpec, inputs: Mapping[str, Any]
) -> BoundArguments:
    """Return inputs as arguments of the types that the user's function declares.

    Raises:
        StepError: one does not fit.
        PassedFailure: it is the item of a map, and a failure of an earlier step.
        WorkerOutdated: the function has no such parameter.
    """
    unknown = step_type.lacks(inputs)
    if unknown is not None:
        raise WorkerOutdated(
            f"step {step_type.name!r} has no parameter {unknown!r} on this worker",
            hint="restart the workers with the code of the client that has enqueued the run",
        )
    values: dict[str, Any] = {}
    for name, value in inputs.items():
        try:
            values[name] = coerce(
                value, step_type.parameters.get(name), where=f"{claim.key}({name})"
            )
        except StepError:
            refuse_failure(step, {name: value})
            raise
    if step.map is not None:
        refuse_by_model(step_type, step.map.parameter, values.get(step.map.parameter))
    return BoundArguments(step_type.signature, values)


def refuse_failure(step: StepSpec, inputs: Mapping[str, Any]) -> None:
    """Raise `PassedFailure` if the item of a map is one; called for inputs that do not fit.

    Lists that a step returned, and lists from stored JSON, contain failures as plain data.

    Raises:
        PassedFailure: it is one.
    """
    item = inputs.get(step.map.parameter) if step.map is not None else None
    failure = _failure(item)
    if failure is not None:
        raise PassedFailure(failure)


def refuse_by_model(step_type: RegisteredStep, parameter: str, item: Any) -> None:
    """Raise `PassedFailure` if the `Inputs` of a step class refuse an item that is a failure.

    The function of such a class has parameters without annotations, which accept everything.

    Raises:
        PassedFailure: they refuse it.
    """
    failure = _failure(item)
    if failure is None:
        return
    for model in step_type.models:
        try:
            adapter_for(model).validate_python({parameter: item}, by_alias=True, by_name=True)
        except ValidationError as error:
            # The other inputs are missing here: only what is said of the item counts.
            if any(each["input"] is item for each in error.errors()):
                raise PassedFailure(failure) from None


def passed_failure(metadata: Mapping[str, Any] | None) -> StepFailure | None:
    """Return the failure that a failed row passed on, if it did."""
    return _from_data((metadata or {}).get(FAILURE))


def _failure(item: Any) -> StepFailure | None:
    return item if isinstance(item, StepFailure) else _from_data(item)


def _from_data(data: Any) -> StepFailure | None:
    if not isinstance(data, Mapping) or data.keys() != _FIELDS:
        return None
    try:
        return StepFailure.model_validate(data)
    except ValidationError:
        return None
