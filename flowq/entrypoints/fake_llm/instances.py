"""A value that fits a JSON schema, always the same for the same schema and prompt."""

from collections.abc import Mapping
from typing import Any, Final

_FORMATS: Final = {
    "date": "2026-01-02",
    "date-time": "2026-01-02T03:04:05Z",
    "duration": "PT1H",
    "email": "ada@example.org",
    "time": "03:04:05",
    "uri": "https://example.org/",
    "uuid": "018f0000-0000-7000-8000-000000000000",
}
#: A schema may contain itself; this deep, what may be left out is left out.
_DEEP: Final = 6


def instance(schema: Mapping[str, Any], prompt: str) -> Any:
    """Return a value that fits a schema; its texts quote the beginning of the prompt."""
    return _value(schema, schema, " ".join(prompt.split())[:40], "value", 0)


def _value(
    schema: Mapping[str, Any], root: Mapping[str, Any], prompt: str, name: str, deep: int
) -> Any:
    if "$ref" in schema:
        schema = _resolved(schema["$ref"], root)
        deep += 1
    fixed = [schema["const"]] if "const" in schema else schema.get("enum")
    if fixed:
        return fixed[0]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return _value(_simplest(schema[several], deep), root, prompt, name, deep + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind == "object":
        return _object(schema, root, prompt, deep)
    if kind == "array":
        return _array(schema, root, prompt, name, deep)
    if kind in {"integer", "number"}:
        return _number(schema, kind)
    return _text(schema, prompt, name) if kind == "string" else {"boolean": True}.get(kind)


def _simplest(options: list[Mapping[str, Any]], deep: int) -> Mapping[str, Any]:
    null = [one for one in options if one.get("type") == "null"]
    if null and deep >= _DEEP:
        return null[0]
    return next((one for one in options if one not in null), options[0])


def _resolved(reference: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _object(schema: Mapping[str, Any], root: Mapping[str, Any], prompt: str, deep: int) -> Any:
    required = schema.get("required", ())
    return {
        name: _value(inner, root, prompt, str(inner.get("title", name)).lower(), deep + 1)
        for name, inner in schema.get("properties", {}).items()
        if deep < _DEEP or name in required
    }


def _array(
    schema: Mapping[str, Any], root: Mapping[str, Any], prompt: str, name: str, deep: int
) -> list[Any]:
    least, most = schema.get("minItems", 0), schema.get("maxItems", 3)
    count = 0 if deep >= _DEEP else min(2, most)
    if schema.get("prefixItems"):
        return [_value(one, root, prompt, name, deep + 1) for one in schema["prefixItems"]]
    items = schema.get("items") or {}
    return [
        _value(items, root, prompt, f"{name} {number}", deep + 1)
        for number in range(1, max(count, least) + 1)
    ]


def _text(schema: Mapping[str, Any], prompt: str, name: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    text = f"{name} of {prompt!r}"
    return text[: schema.get("maxLength", len(text))].ljust(schema.get("minLength", 0), ".")


def _number(schema: Mapping[str, Any], kind: str) -> float:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0) + ("exclusiveMinimum" in schema))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = low if high is None or low + 1 > high else low + 1
    return int(value) if kind == "integer" else float(value)
