"""The one rule for values: what is written is read back, and must be equal to the given value.

All stored data is read here as its reader will read it, and compared with the value, before a step
completes or a run is accepted. So a value that JSON or a class would silently change (a secret, the
fields of a subclass, a key that is no text, a validator that doubles) is refused early, with the
place inside the value.

Values that cannot change are not read again: plain JSON data, which compares equal, and annotations
made of text, numbers, booleans, None, lists and dicts of those (`is_plain`).
"""

from collections.abc import Set as AbstractSet
from functools import lru_cache
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from flowq.core.errors import InvalidOutput, NotSerializable
from flowq.engine.results.codecs.annotations import adapter_for, as_path, problems, read
from flowq.engine.results.codecs.comparing import Comparison, Difference, unreadable

#: Types of schemas whose checked values are equal to their JSON.
_PLAIN: Final = frozenset({"str", "int", "float", "bool", "none"})
#: Parts of schemas that do not change what is read.
_ASIDE: Final = frozenset({"metadata", "serialization"})
#: Modules of abstract classes, which only say what a value can do.
_ABSTRACT: Final = frozenset({"typing", "collections.abc"})


def difference(given: Any, plain: Any, adapter: TypeAdapter[Any]) -> Difference | None:
    """Return where a reader would get another value than the given one.

    Args:
        given: The value, as its annotation has accepted it.
        plain: The data that is stored for it.
        adapter: The annotation by which the data is read.

    Raises:
        ValidationError: the data cannot be read back.
    """
    if is_plain(adapter):
        return None
    if _is_plain_or_any(adapter) and _is_equal(given, plain):
        return None
    try:
        back = read(plain, adapter)
    except ValidationError:
        raise
    except Exception as error:  # noqa: BLE001 - validators are the user's code
        return Difference((), unreadable(error))
    comparison = Comparison(form=has_any(adapter), own=_own)
    found = comparison.difference(given, back)
    if found is None and comparison.open and not _same_text(given, back, adapter):
        return Difference((), "would be read back as a value with another encoding")
    return found


def check_result(value: Any, plain: Any, adapter: TypeAdapter[Any], *, where: str) -> None:
    """Refuse the value of a step if a reader would get another value.

    Args:
        value: The value, as its annotation has accepted it.
        plain: The data that is stored for it.
        adapter: Its return annotation.
        where: Name of the step, for the error.

    Raises:
        InvalidOutput: the annotation makes another value of the data, or none.
        NotSerializable: without an annotation: the value's own type does.
    """
    try:
        found = difference(value, plain, adapter)
    except ValidationError as error:
        raise InvalidOutput(
            f"{where} returned a value that cannot be read back: {problems(error)}",
            hint="change what the step returns, or its return annotation",
        ) from error
    if found is None:
        return
    kind = NotSerializable if adapter.core_schema["type"] == "any" else InvalidOutput
    raise kind(
        f"{where} returned a value that would change when it is stored: "
        f"{describe_difference(found)}",
        hint=found.hint,
    )


def difference_of_argument(
    given: Any, plain: Any, adapter: TypeAdapter[Any] | None
) -> Difference | None:
    """Return where a parameter would get another value than the one passed to it.

    The parameter's annotation may convert a value, as in a validated plain call. Forbidden values
    are not reported here, since the step itself reports them.
    """
    if adapter is None or is_plain(adapter):
        return None
    try:
        accepted = adapter.validate_python(given, by_alias=True, by_name=True)
    except Exception:  # noqa: BLE001 - validators are the user's code, and the step will meet it
        return None
    return difference(accepted, plain, adapter)


def difference_of_form(given: Any, plain: Any) -> Difference | None:
    """Return where a value's own types would not restore it from its JSON form."""
    if _is_equal(given, plain):
        return None
    return Comparison(form=True, own=_own).difference(given, plain)


def difference_of_parts(given: Any, back: Any, adapter: TypeAdapter[Any]) -> Difference | None:
    """Return where a value and the read one differ; both are of the annotation's types."""
    return Comparison(form=has_any(adapter), own=_own).difference(given, back)


def describe_difference(found: Difference) -> str:
    """Return a difference as the end of a sentence about the value."""
    return f"at {as_path(found.place)}: it {found.why}" if found.place else f"it {found.why}"


def describe_path(found: Difference) -> str:
    """Return a difference as what follows the name of the value: `.card: it …`."""
    place = as_path(found.place)
    dot = "." if place and not place.startswith("[") else ""
    return f"{dot}{place}: it {found.why}"


def _own(plain: Any, kind: type) -> Any:
    return read(plain, adapter_for(kind))


def _is_equal(given: Any, plain: Any) -> bool:
    """Return whether a value equals its JSON data; False if `==` gives no boolean."""
    try:
        return bool(given == plain)
    except Exception:  # noqa: BLE001 - of arrays and the like `==` is no bool
        return False


def _same_text(given: Any, back: Any, adapter: TypeAdapter[Any]) -> bool:
    def text(value: Any) -> bytes:
        return adapter.dump_json(value, by_alias=False, round_trip=True, warnings=False)

    return text(given) == text(back)


@lru_cache(maxsize=1024)
def is_plain(adapter: TypeAdapter[Any]) -> bool:
    """Return whether the checked values of an annotation are their JSON data, whatever they are."""
    return _consists_of(_PLAIN, adapter.core_schema)


@lru_cache(maxsize=1024)
def _is_plain_or_any(adapter: TypeAdapter[Any]) -> bool:
    return _consists_of(_PLAIN | {"any"}, adapter.core_schema)


def _consists_of(kinds: AbstractSet[str], schema: Any) -> bool:
    kind = schema["type"]
    if "serialization" in schema:
        return False
    if kind in kinds:
        return True
    if kind == "nullable":
        return _consists_of(kinds, schema["schema"])
    if kind == "list":
        return "items_schema" in schema and _consists_of(kinds, schema["items_schema"])
    if kind == "dict":
        key, item = schema.get("keys_schema"), schema.get("values_schema")
        return key is not None and key["type"] == "str" and _consists_of(kinds, item)
    return False


@lru_cache(maxsize=1024)
def has_any(adapter: TypeAdapter[Any]) -> bool:
    """Return whether an annotation has a part without a type."""
    return _is_open(adapter.core_schema)


def _is_open(schema: Any) -> bool:
    if isinstance(schema, list | tuple):
        return any(map(_is_open, schema))
    if not isinstance(schema, dict):
        return False
    kind = schema.get("type")
    if kind == "any":
        return True
    if kind == "is-instance":  # of a `Sequence` nothing says whether it was a list or a tuple
        cls: Any = schema["cls"]
        return getattr(getattr(cls, "__origin__", cls), "__module__", "") in _ABSTRACT
    config = schema.get("config")
    extra = config.get("extra_fields_behavior") if isinstance(config, dict) else None
    if "allow" in (extra, schema.get("extra_behavior")):
        return True
    return any(_is_open(part) for name, part in schema.items() if name not in _ASIDE)
