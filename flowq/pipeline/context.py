"""What a pipeline is called with: who asks, for which workflow, and the state it begins with."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self


@dataclass
class ExecutionContext:
    """The context of one execution; a middleware may change it.

    Attributes:
        workflow_id: Which workflow, as the application names it.
        user_id: Whose execution it is; rate limits and runs have it.
        conversation_id: The conversation that it belongs to.
        initial_state: What the first node gets.
        metadata: What middleware reads: `provider`, `model`, `temperature`, `tools`, `retriever`.
        variables: Values of the application.
    """

    workflow_id: str
    user_id: str
    conversation_id: str | None = None
    initial_state: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def builder() -> "ExecutionContextBuilder":
        """Return a builder."""
        return ExecutionContextBuilder()

    def to_dict(self) -> dict[str, Any]:
        """Return its fields; JSON data if they are."""
        return asdict(self)

    def named(self, name: str) -> Any:
        """Return a value of the metadata, else of the variables; None if neither has it."""
        return self.metadata.get(name, self.variables.get(name))


class ExecutionContextBuilder:
    """Builds a context step by step."""

    def __init__(self) -> None:
        self._workflow_id: str | None = None
        self._user_id: str | None = None
        self._conversation_id: str | None = None
        self._state: dict[str, Any] = {}
        self._metadata: dict[str, Any] = {}
        self._variables: dict[str, Any] = {}

    def workflow_id(self, workflow_id: str) -> Self:
        """Set the id of the workflow."""
        self._workflow_id = workflow_id
        return self

    def user_id(self, user_id: str) -> Self:
        """Set the user."""
        self._user_id = user_id
        return self

    def conversation_id(self, conversation_id: str | None) -> Self:
        """Set the conversation."""
        self._conversation_id = conversation_id
        return self

    def with_state(self, state: Mapping[str, Any]) -> Self:
        """Set the initial state."""
        self._state = dict(state)
        return self

    def with_metadata(self, metadata: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """Add metadata."""
        self._metadata |= {**(metadata or {}), **more}
        return self

    def with_variables(self, variables: Mapping[str, Any] | None = None, /, **more: Any) -> Self:
        """Add variables."""
        self._variables |= {**(variables or {}), **more}
        return self

    def build(self) -> ExecutionContext:
        """Return the context.

        Raises:
            ValueError: the workflow or the user is missing.
        """
        if not self._workflow_id:
            raise ValueError("workflow_id is required")
        if not self._user_id:
            raise ValueError("user_id is required")
        return ExecutionContext(
            self._workflow_id,
            self._user_id,
            self._conversation_id,
            dict(self._state),
            dict(self._metadata),
            dict(self._variables),
        )
