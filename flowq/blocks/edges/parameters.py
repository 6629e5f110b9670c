"""The parameters of the operations of `edit_structured`, with their defaults."""

from typing import Any, Literal, Self

from pydantic import AliasChoices, Field, model_validator
from pydantic_core import PydanticCustomError

from flowq.blocks.edges.settings import LaxInt, Path, Settings


class Where(Settings):
    """Where an operation acts; without a path, on the whole."""

    path: Path = Field([])


class Get(Where):
    """Parameters of `get`; `default` is the result when the path leads nowhere."""

    default: Any = None


class Delete(Settings):
    """Parameters of `delete`."""

    path: Path


class Put(Where):
    """Parameters of `append` and `set_value`."""

    value: Any


class Insert(Put):
    """Parameters of `insert`."""

    index: LaxInt = 0


class Sort(Where):
    """Parameters of `sort`."""

    reverse: bool = False


class Depth(Settings):
    """Parameters of `get_keys` and `get_values`; -1 means all levels."""

    max_depth: int = -1


class Plugins(Settings):
    """Parameters of `variable_replace`: what replaces `{{name}}`, by name."""

    plugins: dict[str, Any]


class Sets(Settings):
    """Parameters of `set_operation`: two lists, each by its path or itself."""

    operation: Literal["union", "intersection", "difference", "symmetric_difference"] = Field(
        "union", validation_alias=AliasChoices("operation", "operation_type")
    )
    path1: Path = Field([])
    path2: Path = Field([])
    value1: Any = None
    value2: Any = None

    @model_validator(mode="after")
    def _operands(self) -> Self:
        if not self.model_fields_set & {"path1", "path2", "value1", "value2"}:
            raise PydanticCustomError("operands", "it names no lists: path1, path2, value1, value2")
        return self


class Operation(Settings):
    """One operation."""

    type: str
    params: dict[str, Any] = Field({})
