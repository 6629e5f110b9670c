"""Refuses contexts and results that are not as they should be, before they do harm."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.pipeline.context import ExecutionContext
from flowq.pipeline.errors import ValidationError
from flowq.pipeline.protocols import Next
from flowq.pipeline.result import ExecutionResult

_STATUSES: Final = ("completed", "failed", "cancelled")


@dataclass(frozen=True)
class ValidationMiddleware:
    """Checks the context before an execution, and the result after it.

    Attributes:
        validate_input: Whether to check the context.
        validate_output: Whether to check the result.
        strict_mode: Whether warnings are errors; else they are in `metadata["warnings"]`.
    """

    validate_input: bool = True
    validate_output: bool = True
    strict_mode: bool = False

    async def __call__(
        self, workflow: Any, context: ExecutionContext, call_next: Next
    ) -> ExecutionResult:
        """Check around the execution.

        Raises:
            ValidationError: something is not as it should be; names all of it.
        """
        warnings = self._checked(context) if self.validate_input else []
        result = await call_next(workflow, context)
        if self.validate_output:
            _refuse("Result", _flaws(result))
        if warnings:
            result.metadata["warnings"] = [*result.metadata.get("warnings", ()), *warnings]
        return result

    def _checked(self, context: ExecutionContext) -> list[str]:
        state: Any = context.initial_state
        errors = [] if context.user_id else ["user_id is required"]
        errors += [] if state else ["initial_state is required"]
        messages = state.get("messages") if isinstance(state, Mapping) else None
        if messages is not None and not isinstance(messages, list):
            errors.append("messages must be a list")
        warnings = [] if messages else ["there are no messages"]
        warnings += [
            f"no {name} is named" for name in ("provider", "model") if not context.named(name)
        ]
        _refuse("Context", errors + warnings if self.strict_mode else errors)
        return warnings


def _refuse(what: str, flaws: list[str]) -> None:
    if flaws:
        raise ValidationError(f"{what} validation failed: {', '.join(flaws)}")


def _flaws(result: ExecutionResult) -> list[str]:
    output: Any = result.output
    flaws = [] if isinstance(output, Mapping) else ["output must be a mapping"]
    status: str = result.status
    return flaws if status in _STATUSES else [*flaws, f"status {status!r} is unknown"]
