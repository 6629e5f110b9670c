"""A chat model of FLOWQ_OPENAI_BASE_URL, whose answers count also when their usage is invalid.

Many servers support OpenAI's chat completions; some omit counts of tokens or send invalid ones. The
library refuses such an answer. But the model has answered and the call may be billed, so this model
ignores invalid counts and the cost of the call is unknown.
"""

from typing import Any, Final

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion
from pydantic import ValidationError
from pydantic_ai.models.openai import OpenAIChatModel

_COUNTS: Final = ("prompt_tokens", "completion_tokens", "total_tokens")


class OwnServerModel(OpenAIChatModel):
    """A model of the server of FLOWQ_OPENAI_BASE_URL."""

    def _validate_completion(self, response: ChatCompletion) -> Any:
        return super()._validate_completion(
            response.model_copy(update={"usage": usage_of(response.usage)})
        )


def usage_of(usage: Any) -> CompletionUsage | None:
    """Return a server's usage; an invalid count is 0."""
    if usage is None:
        return None
    try:
        return CompletionUsage.model_validate(usage.model_dump(warnings=False))
    except (ValidationError, AttributeError, ValueError):
        given = {name: getattr(usage, name, None) for name in _COUNTS}
        counts = {name: n if type(n) is int else 0 for name, n in given.items()}
        return CompletionUsage.model_validate(counts)
