"""What a pipeline returns: the output, the state at the end, and what it took."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self


@dataclass
class ExecutionResult:
    """The result of one execution; a middleware may change it.

    Attributes:
        output: What was made.
        state: The initial state, with the results merged into it.
        metrics: Numbers: nodes, milliseconds, tokens, USD.
        metadata: What middleware says of it: `cache`, `attempts`, `warnings`.
        errors: What went wrong although there is a result.
    """

    output: dict[str, Any]
    state: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    @property
    def status(self) -> Literal["completed", "failed"]:
        """Whether there is an output, or nothing but errors."""
        return "failed" if self.errors and not self.output else "completed"

    def to_dict(self) -> dict[str, Any]:
        """Return its fields; JSON data if they are."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the result that `to_dict` was made from; fields that it lacks are ignored."""
        known = {one.name for one in fields(cls)}
        return cls(**{name: value for name, value in data.items() if name in known})

    @classmethod
    def from_langgraph(cls, state: Mapping[str, Any], *, earlier: Sequence[Any] = ()) -> Self:
        """Return the result of a LangGraph graph.

        Args:
            state: Its last state; messages are objects or mappings.
            earlier: Messages that were there before it ran; their usage was paid for then.
        """
        found = state.get("messages")
        messages: Sequence[Any] = found if isinstance(found, Sequence) else []
        response = _text(_of(messages[-1], "content")) if messages else ""
        known = {_of(one, "id") for one in earlier} - {None}
        new = [one for one in messages if _of(one, "id") not in known and one not in earlier]
        counts = [_tokens(one) for one in new]
        read, written, total = map(sum, zip(*counts, strict=True)) if counts else (0, 0, 0)
        metrics = {"tokens_used": total, "prompt_tokens": read, "completion_tokens": written}
        return cls({"response": response}, dict(state), metrics)


def _of(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)


def _tokens(message: Any) -> tuple[int, int, int]:
    """Return the tokens that a message has read, written, and both."""
    said = _of(message, "response_metadata")
    usage = _of(message, "usage_metadata") or (
        said.get("token_usage") if isinstance(said, Mapping) else None
    )
    counts = usage if isinstance(usage, Mapping) else {}
    read = counts.get("input_tokens") or counts.get("prompt_tokens") or 0
    written = counts.get("output_tokens") or counts.get("completion_tokens") or 0
    return read, written, counts.get("total_tokens") or read + written


def _text(content: Any) -> str:
    """Return the text of a content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return str(content.get("text", ""))
    return "".join(map(_text, content)) if isinstance(content, list) else ""
