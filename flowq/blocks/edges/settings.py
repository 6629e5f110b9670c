"""The settings of edges as models: what a document may say, and what holds when it says nothing.

A document is checked against the models when it is read (`flaws`), and an edge reads its settings
through the same models when it runs (`of`). So each name, type and default is in one place.

An unknown setting is a warning, since documents of editors have more settings than these. At the
top of an edge, where editors keep keys of their own, only a key that resembles a setting is one.
"""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Final, NamedTuple, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import labels_in

Place = tuple[str | int, ...]


class Flaw(NamedTuple):
    """Something that is wrong with the settings of an edge.

    Attributes:
        place: Where in the settings.
        text: What is wrong.
        warns: Whether the edge can run all the same.
    """

    place: Place
    text: str
    warns: bool = False


class Settings(BaseModel):
    """Settings with known names and types."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")


class EdgeSettings(Settings):
    """The settings of an edge; those in `extra_configs` have a model of their own."""

    extra_configs: Any = None


S = TypeVar("S", bound=Settings)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _path(value: Any) -> Any:
    if not isinstance(value, list) or any(type(part) not in (str, int) for part in value):
        raise PydanticCustomError("path", "it is not a list of keys and indices")
    return [] if value == ["*"] else value


def _not_empty(value: list[str]) -> list[str]:
    if not all(value):
        raise PydanticCustomError("empty", "one of its texts is empty")
    return value


#: A path in data: a list of keys and indices; `["*"]` and `[]` are the root.
Path = Annotated[Any, BeforeValidator(_path)]
#: A text, or a list of texts.
Texts = Annotated[list[str], BeforeValidator(_listed)]
#: Texts none of which is empty.
Separators = Annotated[list[str], AfterValidator(_not_empty)]
#: A whole number; editors also write it as text.
LaxInt = Annotated[int, Field(strict=False)]


def of(model: type[S], data: Mapping[str, Any] | None) -> S:
    """Return settings, with defaults for what is not given; unknown ones are ignored.

    Raises:
        EdgeFailed: a setting is missing or has a wrong type.
    """
    try:
        return model.model_validate(data or {}, extra="ignore")
    except ValidationError as error:
        text = "; ".join(
            f"{'.'.join(map(str, flaw.place))}: {flaw.text}" for flaw in _flaws(model, error, ())
        )
        raise EdgeFailed(Code.CONVERSION, text) from None


def own(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an edge without its inputs and outputs."""
    return {key: value for key, value in config.items() if key not in ("inputs", "outputs")}


def flaws(model: type[Settings], data: Any, place: Place = ()) -> Iterator[Flaw]:
    """Yield what is wrong with settings.

    Args:
        model: What they have to be.
        data: The settings.
        place: Where they are in the settings of their edge; `()` for the whole.
    """
    try:
        model.model_validate(data)
    except ValidationError as error:
        found = list(_flaws(model, error, place))
        given = data if isinstance(data, Mapping) else {}
        # Beside something wrong an unknown key says what was meant.
        warns = all(one.warns for one in found)
        for one in found:
            if place or not one.warns or _resembles(model, given, one):
                yield one._replace(warns=warns)


def _resembles(model: type[Settings], given: Mapping[str, Any], flaw: Flaw) -> bool:
    """Return whether an unknown key resembles a setting that is not given."""
    return len(flaw.place) > 1 or _nearest(flaw.place[0], _names(model) - set(given)) is not None


def _flaws(model: type[Settings], error: ValidationError, place: Place) -> Iterator[Flaw]:
    for one in error.errors(include_url=False):
        at = (*place, *one["loc"])
        if one["type"] == "extra_forbidden":
            yield Flaw(at, _unknown(str(at[-1]), _names_at(model, one["loc"])), warns=True)
        else:
            yield Flaw(at, text_of(one))


def text_of(error: ErrorDetails) -> str:
    """Return what pydantic has found in the words of JSON."""
    kind, value = error["type"], _short(error["input"])
    if kind == "missing":
        return "it is missing"
    if kind in ("model_type", "dict_type"):
        return "it is not an object"
    if kind == "literal_error":
        known = error["ctx"]["expected"]
        return f"{value} is unknown; known are {known}{_hint(error['input'], known.split(chr(39)))}"
    said = error["msg"].replace(" after validation", "")
    return f"{value} does not fit: {said[:1].lower()}{said[1:]}"


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:80]}…"


def _unknown(name: str, known: Iterable[str]) -> str:
    names = ", ".join(sorted(known)) or "none"
    return f"{name!r} is no setting here; known are {names}{_hint(name, known)}"


def _names_at(model: type[Settings], loc: Place) -> set[str]:
    """Return the names of the settings beside one; of a nested model its names are unknown."""
    return _names(model) if len(loc) == 1 else set()


def _names(model: type[Settings]) -> set[str]:
    names: set[str] = set()
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = [alias] if isinstance(alias, str) else getattr(alias, "choices", ())
        names |= set(map(str, choices)) or {name}
    return names


#: How alike two names are that are probably meant to be the same; 1 is equal.
_ALIKE: Final = 0.75


def _nearest(name: Any, known: Iterable[str]) -> str | None:
    found = get_close_matches(str(name), list(known), n=1, cutoff=_ALIKE)
    return found[0] if found else None


def _hint(name: Any, known: Iterable[str]) -> str:
    nearest = _nearest(name, known)
    return f"; did you mean {nearest!r}?" if nearest is not None else ""


def unknown_name(what: str, name: Any, known: Iterable[str]) -> str:
    """Return that a name is unknown, which are known, and which was probably meant."""
    return f"unknown {what} {_short(name)}; known are {', '.join(known)}{_hint(name, known)}"


def foreign_labels(template: Any, labels: Iterable[str], place: Place) -> Iterator[Flaw]:
    """Yield the placeholders of a setting for which no input of the edge has the label."""
    known = list(labels)
    for at, label in labels_in(template):
        if label not in known:
            names = ", ".join(map(repr, known)) or "none"
            shown = "{{" + label + "}}"
            text = f"{shown}: no input has the label {label!r}; they are {names}"
            yield Flaw((*place, *at), text + _hint(label, known))
