"""The environment of templates: what they can read, call and compute.

Jinja's own sandbox keeps templates away from Python's insides, but not from a formatted text of ten
gigabytes. So nothing is allowed but what is named here: kinds of nodes, filters, methods of texts
and of mappings, and functions that are marked as `Function`. Keys come before attributes, and there
are no other attributes. Operators check the size of what they make.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jinja2 import StrictUndefined, nodes
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from flowq.tools.templating.errors import InvalidTemplate, TooLarge
from flowq.tools.templating.filters import (
    FILTERS,
    METHODS,
    as_text,
    bounded_list,
    bounded_text,
    joined,
    method,
    refuse_undefined,
)
from flowq.tools.templating.views import MISSING, is_view, plain

_MAX_RANGE: Final = 10_000
_MAX_DEPTH: Final = 64
#: Bits of a whole number that a template computes.
_MAX_BITS: Final = 4096
_OF_MAPPINGS: Final = ("get", "items", "keys", "values")
#: Filters that no template can name: what stands for `~`, what makes a view plain, and what finds
#: what is called.
_CONCAT: Final = "concat operator"
_PLAIN: Final = "plain value"
_METHOD: Final = "method"
#: Tests that look at the name and not at the value.
_OF_NAMES: Final = frozenset({"defined", "undefined"})

_EXPRESSIONS: Final = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Const,
    nodes.Name,
    nodes.NSRef,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.CondExpr,
    nodes.List,
    nodes.Dict,
    nodes.Pair,
    nodes.Tuple,
    nodes.Keyword,
    nodes.Compare,
    nodes.Operand,
    nodes.BinExpr,
    nodes.UnaryExpr,
    nodes.Concat,
)
_BLOCKS: Final = (nodes.If, nodes.For, nodes.Assign, nodes.With)


@dataclass(frozen=True, slots=True)
class Function:
    """A function that templates may call."""

    call: Callable[..., Any]


def _range(*args: int) -> list[int]:
    found = range(*map(int, args))
    if len(found) > _MAX_RANGE:
        raise TooLarge(f"a range of {len(found):,} numbers; the limit is {_MAX_RANGE:,}")
    return list(found)


# --- operators ------------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _numbers(name: str, left: Any, right: Any) -> None:
    if not (_is_number(left) and _is_number(right)):
        kinds = f"{type(left).__name__} and {type(right).__name__}"
        raise TypeError(f"{name} computes with numbers, not with {kinds}")


def _bits(value: Any) -> int:
    return value.bit_length() if isinstance(value, int) else 64


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return joined([left, right])
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return bounded_list([*left, *right])
    _numbers("+", left, right)
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    _numbers("*", left, right)
    if _bits(left) + _bits(right) > _MAX_BITS:
        raise TooLarge("a number of more than 1,000 digits")
    return left * right


def _power(left: Any, right: Any) -> Any:
    _numbers("**", left, right)
    if isinstance(left, int) and _bits(left) * abs(right) > _MAX_BITS:
        raise TooLarge("a number of more than 1,000 digits")
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    _numbers("%", left, right)  # `%` of a text would be a format
    return left % right


_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": _add,
    "-": operator.sub,
    "*": _multiply,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": _modulo,
    "**": _power,
}


# --- the environment ------------------------------------------------------------------------------


class Environment(SandboxedEnvironment):
    """The environment of all templates of documents."""

    intercepted_binops = frozenset(_OPERATORS)

    def __init__(self) -> None:
        super().__init__(
            undefined=StrictUndefined,
            finalize=as_text,
            autoescape=False,
            optimized=False,  # nothing is computed while a template is read
            keep_trailing_newline=True,
            cache_size=0,
        )
        self.filters = {**FILTERS, _CONCAT: joined, _PLAIN: plain, _METHOD: _called}
        self.globals = {"range": Function(_range)}
        self.binop_table = dict(_OPERATORS)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Return a key."""
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """Return a key or an element."""
        found = _part(obj, plain(argument))
        return self.undefined(obj=plain(obj), name=argument) if found is MISSING else found

    def call(self, context: Context, obj: Any, /, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Call one of the functions that exist."""
        if not isinstance(obj, Function):
            refuse_undefined(obj)
            raise TypeError(f"a {type(obj).__name__} cannot be called")
        given = {name: plain(value) for name, value in kwargs.items()}
        found = obj.call(*map(plain, args), **given)
        if isinstance(found, str):
            return bounded_text(found)
        return found if isinstance(found, Mapping | list) else _listed(found)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ARG002
        """Compute, with a bound on what is made."""
        return self.binop_table[operator](plain(left), plain(right))


def _part(obj: Any, name: Any) -> Any:
    """Return a part of a value, or `MISSING`."""
    refuse_undefined(obj)
    if is_view(obj):
        found = obj.__flowq_get__(name)
        if found is not MISSING:
            return found
        obj = plain(obj)
    if isinstance(obj, Mapping):
        is_key = isinstance(name, str | int | float) and name in obj
        return obj[name] if is_key else MISSING
    if isinstance(obj, str | list | tuple) and isinstance(name, int | slice):
        try:
            return obj[name]
        except (IndexError, ValueError):
            return MISSING
    is_of_loop = isinstance(obj, LoopContext) and name in _OF_LOOPS
    return getattr(obj, name) if is_of_loop else MISSING


def _called(obj: Any, name: str) -> Any:
    """Return what `obj.name(…)` calls: a key, or one of the few methods that exist.

    Only a call finds a method, so `response.items` is undefined when there is no such key.
    """
    found = _part(obj, name)
    if found is not MISSING:
        return found
    obj = plain(obj)
    if isinstance(obj, Mapping) and name in _OF_MAPPINGS:
        return Function(getattr(obj, name))
    if isinstance(obj, str) and name in METHODS:
        return Function(method(obj, name))
    return StrictUndefined(obj=obj, name=name)


#: What a template may ask of the `loop` in a `{% for %}`.
_OF_LOOPS: Final = ("index", "index0", "first", "last", "length", "revindex", "revindex0")


def _listed(value: Any) -> Any:
    """Return views of mappings, and other iterables, as lists."""
    is_iterable = hasattr(value, "__iter__") and not isinstance(value, str)
    return bounded_list(value) if is_iterable else value


class _Checked(NodeTransformer):
    """Refuses nodes that are not allowed; `~` becomes a filter that bounds its result.

    What compares, tests or iterates a value gets its plain value.
    """

    def __init__(self, *, blocks: bool) -> None:
        self._allowed = (*_EXPRESSIONS, *_BLOCKS) if blocks else _EXPRESSIONS

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if not isinstance(node, self._allowed):
            word = type(node).__name__.lower()
            if isinstance(node, _BLOCKS):
                raise InvalidTemplate(
                    f"a {{% {word} %}} block stands here; blocks are allowed in fields of a tool"
                )
            raise InvalidTemplate(f"{word} is not allowed in a template")
        return super().generic_visit(node, *args, **kwargs)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's way
        self.generic_visit(node)
        pieces = nodes.List(node.nodes, lineno=node.lineno)
        return nodes.Filter(pieces, _CONCAT, [], [], None, None, lineno=node.lineno)

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802 - Jinja's way
        self.generic_visit(node)
        node.expr = _as_plain(node.expr)
        for operand in node.ops:
            operand.expr = _as_plain(operand.expr)
        return node

    def visit_Test(self, node: nodes.Test) -> nodes.Node:  # noqa: N802 - Jinja's way
        self.generic_visit(node)
        if node.name not in _OF_NAMES:
            node.node = _as_plain(node.node)
        return node

    def visit_Not(self, node: nodes.Not) -> nodes.Node:  # noqa: N802 - Jinja's way
        self.generic_visit(node)
        node.node = _as_plain(node.node)
        return node

    def _visit_both(self, node: nodes.BinExpr) -> nodes.Node:
        self.generic_visit(node)
        node.left = _as_plain(node.left)
        return node

    visit_And = visit_Or = _visit_both  # noqa: N815 - Jinja's way

    def _visit_test(self, node: nodes.CondExpr | nodes.If) -> nodes.Node:
        self.generic_visit(node)
        node.test = _as_plain(node.test)
        return node

    visit_CondExpr = visit_If = _visit_test  # noqa: N815 - Jinja's way

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802 - Jinja's way
        self.generic_visit(node)
        node.iter = _as_plain(node.iter)
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:  # noqa: N802 - Jinja's way
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise InvalidTemplate("arguments with * are not allowed in a template")
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            name = nodes.Const(node.node.attr, lineno=node.lineno)
            node.node = nodes.Filter(
                node.node.node, _METHOD, [name], [], None, None, lineno=node.lineno
            )
        return node

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:  # noqa: N802 - Jinja's way
        if node.name not in FILTERS:
            raise InvalidTemplate(f"no filter named {node.name!r}")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise InvalidTemplate("arguments with * are not allowed in a template")
        return self.generic_visit(node)


def _as_plain(node: Any) -> nodes.Filter:
    return nodes.Filter(node, _PLAIN, [], [], None, None, lineno=node.lineno)


def checked(node: nodes.Node, *, blocks: bool) -> nodes.Node:
    """Return a parsed template that uses only what is allowed.

    Args:
        node: The template, or an expression.
        blocks: Whether `{% if %}`, `{% for %}`, `{% set %}` and `{% with %}` are allowed.

    Raises:
        InvalidTemplate: it uses something else, or is nested too deeply.
    """
    _check_depth(node)
    found: nodes.Node = _Checked(blocks=blocks).visit(node)
    return found


def _check_depth(root: nodes.Node) -> None:
    level: list[nodes.Node] = [root]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in node.iter_child_nodes()]
        if not level:
            return
    raise InvalidTemplate(f"it is nested deeper than {_MAX_DEPTH} levels")


#: The environment of this process.
environment: Final = Environment()
