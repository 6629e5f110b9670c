"""A blueprint as it is written: nodes of eleven types, edges between them.

Nodes and edges keep what a front end adds to them (positions, labels); their `config` has known
keys only, since a key that is misspelt there would change what runs. A blueprint without nodes is a
draft: it can be stored and cloned, and says what it lacks when it is executed.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from flowq.core.text.json_values import JsonPath, flaw
from flowq.playbooks.blueprints.problems import InvalidBlueprint, Problem

#: Bytes of a blueprint as JSON.
MAX_BYTES: Final = 1 << 20
MAX_NODES: Final = 1_000
MAX_EDGES: Final = 5_000
_YEAR: Final = 31_536_000

Id = Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00#]*$")]
#: The name of a variable.
Name = Annotated[str, Field(max_length=80, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
_Text = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
_Json = dict[str, JsonValue]
_Condition = Annotated[str, Field(min_length=1, max_length=4_000)]


class _Config(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StartConfig(_Config):
    """Of `start`."""

    inputs: _Json = Field({}, description="Variables that input_data need not give.")


class EndConfig(_Config):
    """Of `end`."""

    output: JsonValue = Field(None, description="The output; by default all variables.")


class CallConfig(_Config):
    """What nodes have in common that call something."""

    args: _Json | None = Field(None, description="Arguments; texts with {{ }} are templates.")
    output: Name | None = Field(None, description="The variable that gets the result.")
    retry: JsonValue = Field(None, description="Attempts in all, or a mapping as in playbooks.")
    timeout: float | None = Field(None, gt=0, le=_YEAR, description="Seconds of one attempt.")
    queue: _Text | None = Field(None, description="The Celery queue.")


class StepConfig(CallConfig):
    """Of `step`: a step type; without `args` it gets the variables that it has parameters for."""

    slug: _Text = Field(description="The name of the step type.")


class ToolConfig(CallConfig):
    """Of `tool`: a step type, or a tool of playbooks."""

    slug: _Text | None = Field(None, description="The name of the step type.")
    tool: _Json | None = Field(None, description="A tool of playbooks: {kind: http, …}.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.slug is None) == (self.tool is None):
            raise ValueError("give slug, the name of a step type, or tool, a tool of playbooks")
        return self


class OwnStepConfig(CallConfig):
    """Of `memory` and `retrieval`: a step type that has the type of the node as its name."""

    slug: _Text | None = Field(None, description="The step type; by default the node's type.")


class ModelConfig(CallConfig):
    """Of `model`; its answer becomes the variable `response`."""

    prompt: str | None = Field(None, min_length=1, description="The question.")
    messages: JsonValue = Field(None, description="A conversation, in place of prompt.")
    system: str | None = Field(None, min_length=1, description="Instructions for the model.")
    model: str | None = Field(None, min_length=1, description="The model, as provider:name.")
    answer_schema: _Json | None = Field(
        None, alias="schema", description="The JSON Schema that the answer must fit."
    )
    temperature: JsonValue = None
    max_tokens: JsonValue = None
    top_p: JsonValue = None
    seed: JsonValue = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give prompt, or messages")
        return self


class VariableConfig(_Config):
    """Of `variable`: a name and a value, or several."""

    name: Name | None = None
    value: JsonValue = None
    values: dict[Name, JsonValue] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.name is None) == (self.values is None):
            raise ValueError("give name and value, or values")
        return self

    @property
    def given(self) -> Mapping[str, JsonValue]:
        """The variables."""
        return {self.name: self.value} if self.name is not None else self.values or {}


class ConditionalConfig(_Config):
    """Of `conditional`: without a condition, its edges have them."""

    condition: _Condition | None = None


class LoopConfig(_Config):
    """Of `loop`."""

    max_iterations: int = Field(10, ge=0, le=10_000, strict=True)
    condition: _Condition | None = Field(None, description="Goes on while this holds.")


class DelayConfig(_Config):
    """Of `delay`."""

    seconds: JsonValue = Field(description="A number, or a template.")


class ErrorHandlerConfig(_Config):
    """Of `error_handler`."""

    output: Name = Field("error", description="The variable that gets {type, message, …}.")


class _Node(BaseModel):
    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    id: Id


class StartNode(_Node):
    """Where every instance begins."""

    type: Literal["start"]
    config: StartConfig = StartConfig()


class EndNode(_Node):
    """Where it ends; what has no edge out of it leads here, too."""

    type: Literal["end"]
    config: EndConfig = EndConfig()


class StepNode(_Node):
    """A step type."""

    type: Literal["step"]
    config: StepConfig


class ToolNode(_Node):
    """A step type or a tool of playbooks; counted in the variable `tool_calls`."""

    type: Literal["tool"]
    config: ToolConfig


class OwnStepNode(_Node):
    """A step type of the application that is registered under the type's name."""

    type: Literal["memory", "retrieval"]
    config: OwnStepConfig = OwnStepConfig()


class ModelNode(_Node):
    """A call of a model."""

    type: Literal["model"]
    config: ModelConfig


class VariableNode(_Node):
    """Sets variables."""

    type: Literal["variable"]
    config: VariableConfig


class ConditionalNode(_Node):
    """Chooses among its edges."""

    type: Literal["conditional"]
    config: ConditionalConfig = ConditionalConfig()


class LoopNode(_Node):
    """Begins what leads back to it again, a number of times at most."""

    type: Literal["loop"]
    config: LoopConfig = LoopConfig()


class DelayNode(_Node):
    """Waits, without a worker."""

    type: Literal["delay"]
    config: DelayConfig


class ErrorHandlerNode(_Node):
    """Goes on after a failure of the nodes before it; without any, of all nodes."""

    type: Literal["error_handler"]
    config: ErrorHandlerConfig = ErrorHandlerConfig()


Node = Annotated[
    StartNode
    | EndNode
    | StepNode
    | ToolNode
    | OwnStepNode
    | ModelNode
    | VariableNode
    | ConditionalNode
    | LoopNode
    | DelayNode
    | ErrorHandlerNode,
    Field(discriminator="type"),
]


class Edge(BaseModel):
    """What follows a node."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    source: Id
    target: Id
    condition: str | None = Field(
        None, max_length=4_000, description="Of an edge out of a conditional or a loop."
    )


class Blueprint(BaseModel):
    """A blueprint."""

    model_config = ConfigDict(extra="forbid")

    name: _Text
    description: str = Field("", max_length=10_000)
    nodes: list[Node] = Field([], max_length=MAX_NODES)
    edges: list[Edge] = Field([], max_length=MAX_EDGES)
    config: _Json = Field({}, description="Data to keep with it.")

    def plain(self) -> dict[str, Any]:
        """Return it as JSON data, without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


def read(data: Any) -> Blueprint:
    """Read a blueprint from JSON data.

    Raises:
        InvalidBlueprint: its shape is wrong; has all problems.
    """
    if found := flaw(data):
        raise InvalidBlueprint([Problem.at(*found)])
    try:
        done = Blueprint.model_validate(data)
    except ValidationError as error:
        problems = [Problem.at(place(one["loc"]), said(one)) for one in error.errors()]
        raise InvalidBlueprint(problems) from None
    check_size(done)
    return done


def check_size(blueprint: Blueprint) -> None:
    """Refuse a blueprint that is too large.

    Raises:
        InvalidBlueprint: it has more than `MAX_BYTES`.
    """
    size = len(json.dumps(blueprint.plain(), ensure_ascii=False).encode(errors="replace"))
    if size > MAX_BYTES:
        raise InvalidBlueprint([Problem("", f"has {size:,} bytes; the limit is {MAX_BYTES:,}")])


_TYPES: Final = frozenset(
    (
        *("start", "end", "step", "tool", "memory", "retrieval", "model", "variable"),
        *("conditional", "loop", "delay", "error_handler"),
    )
)


def place(loc: tuple[str | int, ...]) -> JsonPath:
    """Return the place of an error of pydantic, without the types of nodes that it inserts."""
    return tuple(_parts(loc))


def _parts(loc: tuple[str | int, ...]) -> Iterator[str | int]:
    for at, part in enumerate(loc):
        is_type = at >= 2 and loc[at - 2] == "nodes" and part in _TYPES
        if not is_type and part != "[key]":  # the key is there, too
            yield part


def said(error: Mapping[str, Any]) -> str:
    """Return what an error of pydantic says, in the words of JSON."""
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "there is no such key"
        case "union_tag_invalid" | "union_tag_not_found":
            return f"'type' must be one of {', '.join(sorted(_TYPES))}"
        case "model_type" | "dict_type" | "model_attributes_type":
            return "is not an object"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
    return str(error["msg"])
