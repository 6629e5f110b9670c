"""Step types: what front ends are given of them, and what cannot be one."""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from flowq.core.errors import InvalidFlow
from flowq.workflows import (
    RegistryFrozenError,
    StepRegistry,
    StepTypeNotFound,
    registry,
    step_type,
)
from tests.tools.workflows.samples import define_text


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Box(BaseModel):
    size: int = 1


def of(function: Callable[..., Any], **options: Any) -> Any:
    """Return the properties of the form of a function."""
    step_type("form", **options)(function)
    return registry.get("form").describe()["parameters"]


def test_a_front_end_is_told_what_a_form_needs() -> None:
    steps = define_text()

    assert registry.get("tokenize").describe() == {
        "slug": "tokenize",
        "name": "Split into words",
        "doc": "Split a text at white space.",
        "inputs": ["text"],
        "outputs": [],
        "input_type": "str",
        "output_type": "list",
        "execution_mode": "batch",
        "metadata": {"category": "text"},
        "parameters": {
            "type": "object",
            "properties": {"lower": {"type": "boolean", "default": True, "title": "Lower"}},
            "additionalProperties": False,
        },
    }
    assert ["count_words", "tokenize"] == [one.slug for one in registry.list()]
    assert ["a", "b"] == steps["tokenize"]("A b")
    assert "Count words" == registry.get("count_words").name


def no_default(data: Any, number: int) -> Any: ...
def optional(data: Any, number: int | None = None) -> Any: ...
def literal(data: Any, kind: Literal["a", "b"] = "a") -> Any: ...
def enum(data: Any, colour: Colour = Colour.RED) -> Any: ...
def model(data: Any, box: Box = Box()) -> Any: ...  # noqa: B008
def annotated(
    data: Any, number: Annotated[int, Field(ge=1, description="How many")] = 1
) -> Any: ...
def listed(data: Any, names: list[str] = []) -> Any: ...  # noqa: B006
def untyped(data: Any, thing=None) -> Any: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
def odd(data: Any, _private: int = 1, model_config: int = 2, schema: int = 3) -> Any: ...
def unwritable(data: Any, thing: Any = object()) -> Any: ...  # noqa: B008
def code(data: Any, call: Callable[[], int] = int) -> Any: ...
def nothing(data: Any) -> Any: ...


@pytest.mark.parametrize(
    "function, properties, required",
    [
        (no_default, {"number": {"type": "integer", "title": "Number"}}, ["number"]),
        (optional, {"number": {"anyOf": [{"type": "integer"}, {"type": "null"}],
                               "default": None, "title": "Number"}}, None),
        (literal, {"kind": {"enum": ["a", "b"], "type": "string", "default": "a",
                            "title": "Kind"}}, None),
        (enum, {"colour": {"$ref": "#/$defs/Colour", "default": "red"}}, None),
        (model, {"box": {"$ref": "#/$defs/Box", "default": {"size": 1}}}, None),
        (annotated, {"number": {"type": "integer", "minimum": 1, "default": 1,
                                "description": "How many", "title": "Number"}}, None),
        (listed, {"names": {"type": "array", "items": {"type": "string"}, "default": [],
                            "title": "Names"}}, None),
        (untyped, {"thing": {"default": None, "title": "Thing"}}, None),
        (odd, {"_private": {"type": "integer", "default": 1, "title": "Private"},
               "model_config": {"type": "integer", "default": 2, "title": "Model config"},
               "schema": {"type": "integer", "default": 3, "title": "Schema"}}, None),
        (unwritable, {"thing": {"title": "Thing"}}, None),
        (code, {"call": {"title": "Call"}}, None),
        (nothing, {}, None),
    ],
)  # fmt: skip
def test_each_signature_has_a_form(function: Any, properties: Any, required: Any) -> None:
    found = of(function)

    assert properties == found["properties"]
    assert required == found.get("required")


def test_an_unknown_slug_is_an_error() -> None:
    define_text()
    with pytest.raises(StepTypeNotFound, match="'tokenise' is not found in the registry") as missed:
        registry.get("tokenise")
    assert "did you mean tokenize?" in str(missed.value)


def test_a_slug_has_one_function() -> None:
    def define(again: Any = None) -> Any:
        def own(text: str) -> str:
            return text

        return step_type("own")(again or own)

    first = define()
    with pytest.raises(InvalidFlow, match="two steps are named 'own'"):
        step_type("own")(nothing)
    assert registry.get("own").step is first
    assert define() is registry.get("own").step


def test_a_frozen_registry_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    define_text()
    own = StepRegistry()
    own.register(registry.get("tokenize"))
    own.freeze()
    assert "tokenize" in own
    assert 1 == len(own)
    with pytest.raises(RegistryFrozenError, match="the registry is frozen"):
        own.register(registry.get("count_words"))

    monkeypatch.setattr(registry, "_frozen", True)
    with pytest.raises(RegistryFrozenError):
        step_type("late")(nothing)


def test_an_annotation_may_name_what_is_defined_further_down() -> None:
    def later(data: Any, size: Any) -> Any: ...

    later.__annotations__ = {"data": "Later", "size": "Later", "return": "list[Later]"}
    step_type("later")(later)
    later.__globals__["Later"] = int
    try:
        assert {"size": {"type": "integer", "title": "Size"}} == (
            registry.get("later").describe()["parameters"]["properties"]
        )
    finally:
        del later.__globals__["Later"]


def generator(data: Any) -> Iterator[int]:
    yield 1


def variadic(*data: Any) -> Any: ...


@pytest.mark.parametrize(
    "slug, function, options, message",
    [
        ("Two words", nothing, {}, "a slug has 1 to 100 of"),
        ("x" * 101, nothing, {}, "a slug has 1 to 100 of"),
        ("celery.x", nothing, {}, "reserved"),
        ("x", variadic, {}, "takes .args or ..kwargs"),
        ("x", nothing, {"inputs": ["other"]}, "its parameters are data"),
        ("x", nothing, {"inputs": "data"}, "give a list of their names"),
        ("x", nothing, {"execution_mode": "fast"}, "execution_mode is 'fast'"),
        ("x", nothing, {"geometry": "round"}, "geometry is 'round'"),
        ("x", nothing, {"execution_mode": "streaming"}, "is no generator"),
        ("x", generator, {"execution_mode": "batch"}, "is a generator"),
        ("x", nothing, {"geometry": "filter", "execution_mode": "batch"}, "does not fit"),
        ("x", nothing, {"geometry": "reduce", "execution_mode": "row_iterative"}, "does not fit"),
        ("x", 7, {}, "step type 'x'"),
    ],
)
def test_what_cannot_be_a_step_type_is_refused(
    slug: str, function: Any, options: Any, message: str
) -> None:
    with pytest.raises(InvalidFlow, match=message):
        step_type(slug, **options)(function)
    assert slug not in registry
