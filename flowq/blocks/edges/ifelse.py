"""The edge `ifelse`: sets those of its outputs whose cases are true. Pure.

The conditions of a case are joined from left to right: `a and b or c` is `(a and b) or c`. All true
cases apply; a later case overwrites an earlier one on the same block. There is no `else`: an output
that no case sets stays unset, and edges that read it are skipped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

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

_Flaw = tuple[tuple[str | int, ...], str]


def check(config: Mapping[str, Any]) -> Iterator[_Flaw]:
    """Yield what is wrong with the settings of an edge."""
    cases = config.get("cases")
    if not isinstance(cases, Mapping):
        yield ("cases",), "it has no cases"
        return
    for name, case in cases.items():
        at = ("cases", str(name))
        parts = case if isinstance(case, Mapping) else {}
        for part, check_one in (("conditions", _condition), ("thens", _then)):
            found = parts.get(part)
            if not isinstance(found, list) or not found:
                yield (*at, part), f"the case {name!r} has no {part}"
                continue
            for place, one in enumerate(found):
                is_last = place == len(found) - 1
                yield from check_one(config, one, (*at, part, place), is_last=is_last)


def _condition(
    config: Mapping[str, Any], one: Any, at: tuple[str | int, ...], *, is_last: bool
) -> Iterator[_Flaw]:
    if not isinstance(one, Mapping):
        yield at, "it is not an object"
        return
    name = one.get("condition")
    if name not in CONDITIONS:
        yield (*at, "condition"), f"unknown condition {name!r}; known are {', '.join(CONDITIONS)}"
    if one.get("block") not in config["inputs"]:
        yield (*at, "block"), f"{one.get('block')!r} is no input of this edge"
    wanted = ("/",) if is_last else ("and", "or")
    if one.get("operation") not in wanted:
        yield (*at, "operation"), f"{one.get('operation')!r} is not {' or '.join(wanted)}"


def _then(
    config: Mapping[str, Any], one: Any, at: tuple[str | int, ...], *, is_last: bool
) -> Iterator[_Flaw]:
    del is_last
    if not isinstance(one, Mapping):
        yield at, "it is not an object"
        return
    for part, ends in (("from", "inputs"), ("to", "outputs")):
        if one.get(part) not in config[ends]:
            yield (*at, part), f"{one.get(part)!r} is none of the {ends} of this edge"
