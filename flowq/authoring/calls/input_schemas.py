"""The declared inputs of a flow as a JSON Schema, for programs that start it over HTTP."""

from inspect import Parameter
from typing import Any, Final

from pydantic import PydanticUserError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from flowq.authoring.calls.inputs import AnyInputs, InputSchema
from flowq.core.text.json_values import flaw

#: Keywords whose value has schemas: by name, in a list, or is one.
_NAMED: Final = frozenset({"properties", "patternProperties", "$defs"})
_LISTED: Final = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SINGLE: Final = frozenset({"items", "additionalProperties", "propertyNames", "not"})


def json_schema(inputs: InputSchema, ref_template: str) -> dict[str, Any]:
    """Return the JSON Schema of the inputs of a flow.

    Args:
        inputs: The inputs.
        ref_template: Where the schema of a model is: `#/$defs/{model}`.

    Returns:
        An object with a property for each input, and `$defs`. What has no JSON Schema may have any
        value. Defaults and bounds that JSON cannot represent, like infinity, are left out.
    """
    made = _json_schema(inputs, ref_template)
    return made if flaw(made) is None else _representable(made)


def _json_schema(inputs: InputSchema, ref_template: str) -> dict[str, Any]:
    if isinstance(inputs, AnyInputs):
        return {"type": "object"}
    if inputs.model is not None:
        return _without_error(inputs.model.model_json_schema, ref_template) or {"type": "object"}
    properties: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    required: list[str] = []
    for name, parameter in inputs.signature.parameters.items():
        adapter = inputs.adapters.get(name)
        found = _without_error(adapter.json_schema, ref_template) if adapter is not None else {}
        definitions |= found.pop("$defs", {})
        if parameter.default is Parameter.empty:
            required.append(name)
        else:
            found |= _default(parameter.default)
        properties[name] = found
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        **schema,
        **({"required": required} if required else {}),
        **({"$defs": definitions} if definitions else {}),
    }


def _representable(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without the keywords whose value JSON cannot represent."""
    kept: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword in _NAMED:
            kept[keyword] = {name: _part(one) for name, one in value.items()}
        elif keyword in _LISTED:
            kept[keyword] = [_part(one) for one in value]
        elif keyword in _SINGLE:
            kept[keyword] = _part(value)
        elif flaw(value) is None:
            kept[keyword] = value
    return kept


def _part(schema: Any) -> Any:
    return _representable(schema) if isinstance(schema, dict) else schema


def _without_error(make: Any, ref_template: str) -> dict[str, Any]:
    try:
        made: dict[str, Any] = make(ref_template=ref_template)
    except PydanticUserError:  # e.g. of a table
        return {}
    return made


def _default(value: Any) -> dict[str, Any]:
    try:
        return {"default": to_jsonable_python(value)}
    except (PydanticSerializationError, ValueError, TypeError):
        return {}
