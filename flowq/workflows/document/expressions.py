"""Format 2: a workflow as a list of expressions, translated to the fields of format 3. Pure.

    {"format_version": 2, "name": "words", "steps": [
      {"name": "split", "expression": "=tokenize(lower=True)", "meta": {"label": "Split"}},
      {"name": "count", "expression": "count_words(words=split, top=2)"}]}

    expression   a literal, a reference, or slug(name=…, …), slug.mode(name=…, …)
    reference    the name of a step or step1, step2, …; then .field, ["field"], [0], [["a", "b"]]

An expression is parsed by `ast` and translated; nothing of it is ever evaluated. Other syntax is
refused with its column. Which names are data parameters is asked of the step types.
"""

import ast
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from flowq.core.text.json_values import MAX_DEPTH
from flowq.workflows.document.problems import InvalidWorkflow, Problem

#: The step type of a step that only has a value: a literal, or a part of another one.
VALUE: Final = "flowq.value"
MAX_LENGTH: Final = 4096
_MODES: Final[Mapping[str, Mapping[str, str]]] = {
    "source": {},
    "map": {"execution_mode": "row_iterative", "geometry": "apply"},
    "rowmap": {"execution_mode": "row_iterative", "geometry": "apply"},
    "expand": {"geometry": "expand"},
    "filter": {"geometry": "filter"},
    "collapse": {"geometry": "reduce"},
    "reduce": {"geometry": "reduce"},
    "dataframe": {"execution_mode": "batch"},
    "vectorize": {"geometry": "vectorize"},
}
#: Ends a text that means the last step of a slug: `tokenize_output`.
_OUTPUT: Final = "_output"
_ONLY: Final = "write a literal, a step, or slug(name=…); do the rest in a step type"

#: Whether a slug has a data parameter of a name.
IsData = Callable[[str, str], bool]


class _Refused(Exception):
    """A part of an expression that is not allowed."""

    def __init__(self, text: str, node: ast.AST | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.column = None if node is None else getattr(node, "col_offset", None)


def translate(data: Mapping[str, Any], is_data: IsData) -> dict[str, Any]:
    """Return the data of a workflow of format 2 in the form of format 3.

    Args:
        data: The data of its JSON.
        is_data: Whether a slug has a data parameter of a name; others are its configuration.

    Raises:
        InvalidWorkflow: an expression cannot be read, with all problems.
    """
    given = data.get("steps", [])
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise InvalidWorkflow([Problem("it is not a list of objects", "steps")])
    names = [str(one.get("name") or f"step{at}") for at, one in enumerate(given, start=1)]
    translator = _Translator(names, is_data)
    steps, problems = [], []
    for place, (name, one) in enumerate(zip(names, given, strict=True), start=1):
        try:
            steps.append(translator.step(name, one))
        except _Refused as refused:
            at = "" if refused.column is None else f"column {refused.column + 1}: "
            problems.append(Problem(f"{at}{refused.text}", "expression", name, place))
    if problems:
        raise InvalidWorkflow(problems)
    rest = {key: value for key, value in data.items() if key not in ("steps", "format_version")}
    return {**rest, "steps": steps}


@dataclass
class _Translator:
    names: Sequence[str]
    is_data: IsData
    #: From a slug to the last step of it so far.
    _last: dict[str, str] = field(default_factory=dict)

    def step(self, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return a step in the form of format 3."""
        node, shift = _parsed(data.get("expression"))
        try:
            fields = self._fields(node)
        except _Refused as refused:
            if refused.column is not None:
                refused.column += shift
            raise
        self._last[fields["type_slug"]] = name
        meta = data.get("meta") or {}
        label = meta.get("label") if isinstance(meta, Mapping) else None
        rest = {key: one for key, one in data.items() if key not in ("name", "expression", "meta")}
        more = {"label": label} if isinstance(label, str) else {}
        return {**rest, "id": name, **fields, **more, **({"meta": meta} if meta else {})}

    def _fields(self, node: ast.expr) -> dict[str, Any]:
        if isinstance(node, ast.Call):
            return self._call(node)
        return {"type_slug": VALUE, "inputs": {"value": self._argument(node)}}

    def _call(self, node: ast.Call) -> dict[str, Any]:
        name = _dotted(node.func)
        slug, _, mode = name.rpartition(".")
        slug, more = (slug, _MODES[mode]) if slug and mode in _MODES else (name, {})
        if node.args:
            raise _Refused("an argument has no name; write name=…", node.args[0])
        config: dict[str, Any] = {}
        inputs: dict[str, Any] = {}
        for one in node.keywords:
            if one.arg is None:
                raise _Refused("** is not possible; write each name", one.value)
            if one.arg in config or one.arg in inputs:
                raise _Refused(f"{one.arg} is given twice", one)
            argument = self._argument(one.value)
            if "literal" in argument and not self.is_data(slug, one.arg):
                config[one.arg] = argument["literal"]
            else:
                inputs[one.arg] = argument
        return {"type_slug": slug, "config": config, "inputs": inputs, **more}

    def _argument(self, node: ast.expr) -> dict[str, Any]:
        """Return a literal or a reference, as in `inputs` of a step."""
        if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
            step, path = self._reference(node)
            return {"step": step, "path": path} if path else {"step": step}
        value = _literal(node)
        if isinstance(value, str) and value.endswith(_OUTPUT):
            last = self._last.get(value.removesuffix(_OUTPUT))
            if last is not None:
                return {"step": last}
        return {"literal": value}

    def _reference(self, node: ast.expr) -> tuple[str, list[Any]]:
        if isinstance(node, ast.Name):
            return self._named(node), []
        if isinstance(node, ast.Attribute):
            if node.attr.startswith("_"):
                raise _Refused(f'.{node.attr} is not possible; write ["{node.attr}"]', node)
            step, path = self._reference(node.value)
            return step, [*path, node.attr]
        if isinstance(node, ast.Subscript):
            step, path = self._reference(node.value)
            return step, [*path, _part(node.slice)]
        raise _Refused(f"{_kind(node)} is not possible; {_ONLY}", node)

    def _named(self, node: ast.Name) -> str:
        if node.id in self.names:
            return node.id
        number = node.id.removeprefix("step")
        if number != node.id and number.isdecimal() and 0 < int(number[:9]) <= len(self.names):
            return self.names[int(number[:9]) - 1]
        return node.id


def _parsed(expression: Any) -> tuple[ast.expr, int]:
    """Return the tree of an expression, and how many characters before it were removed."""
    if not isinstance(expression, str):
        raise _Refused("it is missing" if expression is None else "it is not text")
    if len(expression) > MAX_LENGTH:
        raise _Refused(f"it has {len(expression):,} characters, the limit is {MAX_LENGTH:,}")
    text = expression.lstrip().removeprefix("=").strip()
    shift = expression.find(text) if text else 0
    try:
        return ast.parse(text, mode="eval").body, shift
    except SyntaxError as error:
        at = "" if error.offset is None else f"column {error.offset + shift}: "
        raise _Refused(f"{at}{error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise _Refused(f"it cannot be read: {str(error) or type(error).__name__}") from None


def _dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise _Refused("only a step type can be called: slug(name=…)", node)
    return ".".join([node.id, *reversed(parts)])


def _part(node: ast.expr) -> Any:
    """Return what is between brackets: a name, an index, or names of columns."""
    value = _literal(node) if not isinstance(node, ast.Slice) else None
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    if isinstance(value, list) and value and all(isinstance(one, str) for one in value):
        return value
    raise _Refused(f'{_kind(node)} is not possible here; write ["name"], [0] or [["a", "b"]]', node)


def _literal(node: ast.expr) -> Any:
    """Return the JSON value of a literal."""
    for inner in ast.walk(node):
        if not isinstance(
            inner,
            ast.Constant | ast.List | ast.Tuple | ast.Dict | ast.UnaryOp | ast.USub | ast.UAdd
            | ast.Load,
        ):  # fmt: skip
            raise _Refused(f"{_kind(inner)} is not possible; {_ONLY}", inner)
    try:
        return _json(ast.literal_eval(node), node)
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise _Refused(f"it is no literal: {error}", node) from None


def _json(value: Any, node: ast.expr, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        raise _Refused(f"it nests deeper than {MAX_DEPTH} levels", node)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_json(one, node, depth + 1) for one in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: _json(one, node, depth + 1) for key, one in value.items()}
    raise _Refused(f"a {type(value).__name__} is no JSON", node)


def _kind(node: ast.AST) -> str:
    """Return what a part of an expression is, for people."""
    names: Iterator[tuple[type[ast.AST], str]] = iter(
        (
            (ast.Compare, "a comparison"),
            (ast.BoolOp, "and/or"),
            (ast.BinOp, "arithmetic"),
            (ast.Slice, "a slice"),
            (ast.Call, "a call inside of an expression"),
            (ast.JoinedStr, "an f-string"),
            (ast.Lambda, "a lambda"),
        )
    )
    return next((said for kind, said in names if isinstance(node, kind)), type(node).__name__)
