"""The edge `ifelse`: sets those of its outputs whose cases are true. Pure.

The conditions of a case are joined from left to right: `a and b or c` is `(a and b) or c`. All true
cases apply; a later case overwrites an earlier one on the same block. There is no `else`: an output
that no case sets stays unset, and edges that read it are skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from flowq.blocks.edges.settings import (
    EdgeSettings,
    Flaw,
    Place,
    Settings,
    flaws,
    own,
    unknown_name,
)
from flowq.blocks.errors import Code, EdgeFailed

_Condition = Mapping[str, Any]


def ifelse(config: dict[str, Any], contents: dict[str, Any]) -> dict[str, Any]:
    """Return contents by block, for those outputs that a case has chosen.

    Raises:
        EdgeFailed: a condition cannot be decided.
    """
    labels: Mapping[str, str] = config["inputs"]
    by_block = {block: contents[label] for block, label in labels.items()}
    chosen: dict[str, Any] = {}
    for case in config["cases"].values():
        if _holds(case["conditions"], by_block):
            chosen |= {then["to"]: by_block[then["from"]] for then in case["thens"]}
    return chosen


def _holds(conditions: Sequence[_Condition], by_block: Mapping[str, Any]) -> bool:
    holds, operation = True, "and"
    for condition in conditions:
        one = _decide(condition, by_block)
        holds = (holds and one) if operation == "and" else (holds or one)
        operation = condition["operation"]
    return holds


def _decide(condition: _Condition, by_block: Mapping[str, Any]) -> bool:
    name, content = condition["condition"], by_block[condition["block"]]
    value = (condition.get("parameters") or {}).get("value")
    try:
        return bool(CONDITIONS[name](content, value))
    except TypeError as error:
        raise EdgeFailed(
            Code.CONDITION, f"{name} of block {condition['block']} with {value!r}: {error}"
        ) from None


def _contains(content: Any, value: Any) -> bool:
    if isinstance(content, str):
        return str(value) in content
    if isinstance(content, dict):
        return value in [*content, *content.values()]
    return isinstance(content, list) and value in content


def _length(content: Any, *kinds: type) -> int | None:
    """Return how long a content is, if it is of one of these kinds."""
    return len(content) if type(content) in kinds else None


def _longer(content: Any, value: Any, *kinds: type) -> bool:
    length = _length(content, *kinds)
    return length is not None and length > _number(value)


def _shorter(content: Any, value: Any, *kinds: type) -> bool:
    length = _length(content, *kinds)
    return length is not None and length < _number(value)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError("it is not a number") from None


#: From the name of a condition to what decides it, of a content and a value.
CONDITIONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "is_empty": lambda content, _: not content and content not in (0, False),
    "is_not_empty": lambda content, _: bool(content) or content in (0, False),
    "contain": _contains,
    "not_contain": lambda content, value: not _contains(content, value),
    "greater_than_n_chars": lambda content, value: _longer(content, value, str),
    "less_than_n_chars": lambda content, value: _shorter(content, value, str),
    "is": lambda content, value: content == value,
    "is_not": lambda content, value: content != value,
    "is_list": lambda content, _: isinstance(content, list),
    "is_dict": lambda content, _: isinstance(content, dict),
    "greater_than_n": lambda content, value: _longer(content, value, list, dict),
    "less_than_n": lambda content, value: _shorter(content, value, list, dict),
}

#: Conditions without a value.
_UNARY: Final = frozenset({"is_empty", "is_not_empty", "is_list", "is_dict"})


class _Edge(EdgeSettings):
    cases: Any


class Case(Settings):
    """What is set, and when."""

    conditions: Annotated[list[Any], Field(min_length=1)]
    thens: Annotated[list[Any], Field(min_length=1)]


class Condition(Settings):
    """One condition, and how the next one is joined to it; `/` ends the list."""

    block: str
    condition: str
    parameters: dict[str, Any] | None = None
    operation: str


class Then(Settings):
    """From which input to which output a content is given."""

    source: str = Field(alias="from")
    target: str = Field(alias="to")


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    yield from flaws(_Edge, own(config))
    yield from flaws(Settings, config.get("extra_configs") or {}, ("extra_configs",))
    cases = config.get("cases")
    if not isinstance(cases, Mapping):
        yield Flaw(("cases",), "it has no cases")
        return
    for name, case in cases.items():
        at = ("cases", str(name))
        yield from flaws(Case, case, at)
        parts = case if isinstance(case, Mapping) else {}
        for part, check_one in (("conditions", _condition), ("thens", _then)):
            listed: Any = parts.get(part)
            found: list[Any] = listed if isinstance(listed, list) else []
            for place, one in enumerate(found):
                is_last = place == len(found) - 1
                yield from check_one(config, one, (*at, part, place), is_last=is_last)


def _condition(config: Mapping[str, Any], one: Any, at: Place, *, is_last: bool) -> Iterator[Flaw]:
    wrong = list(flaws(Condition, one, at))
    yield from wrong
    if any(not flaw.warns for flaw in wrong):
        return
    name, parameters = one["condition"], one.get("parameters") or {}
    if name not in CONDITIONS:
        yield Flaw((*at, "condition"), unknown_name("condition", name, CONDITIONS))
    elif name not in _UNARY:
        yield from _value(name, parameters, (*at, "parameters"))
    if one["block"] not in config["inputs"]:
        yield Flaw((*at, "block"), f"{one['block']!r} is no input of this edge")
    wanted = ("/",) if is_last else ("and", "or")
    if one["operation"] not in wanted:
        yield Flaw((*at, "operation"), f"{one['operation']!r} is not {' or '.join(wanted)}")


class Value(Settings):
    """What a condition compares with."""

    value: Any


def _value(name: str, parameters: Mapping[str, Any], at: Place) -> Iterator[Flaw]:
    yield from flaws(Value, parameters, at)
    if "value" in parameters and "_than_n" in name:
        try:
            _number(parameters["value"])
        except TypeError as error:
            yield Flaw((*at, "value"), f"{parameters['value']!r}: {error}")


def _then(config: Mapping[str, Any], one: Any, at: Place, *, is_last: bool) -> Iterator[Flaw]:
    del is_last
    wrong = list(flaws(Then, one, at))
    yield from wrong
    if any(not flaw.warns for flaw in wrong):
        return
    for part, ends in (("from", "inputs"), ("to", "outputs")):
        if one[part] not in config[ends]:
            yield Flaw((*at, part), f"{one[part]!r} is none of the {ends} of this edge")
