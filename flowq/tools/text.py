"""Compiled texts: `{{ … }}` within them is replaced when they are rendered.

    "{{ response.data.items }}"     an expression alone gives its value as it is: a list
    "page {{ page + 1 }}"           pieces become a text: None is empty, lists are JSON

Nothing is ever guessed back from text. What is compiled is kept, by its text.
"""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from functools import lru_cache
from typing import Any, Final

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.environment import Template
from jinja2.exceptions import UndefinedError
from jinja2.parser import Parser

from flowq.core.errors import FlowqError
from flowq.tools.templating.errors import InvalidTemplate, TemplateFailed, TooLarge
from flowq.tools.templating.filters import bounded_list, bounded_text, refuse_undefined
from flowq.tools.templating.sandbox import Function, checked, environment
from flowq.tools.templating.views import MISSING, View, deeply_plain, is_view

__all__ = [
    "MISSING",
    "Function",
    "InvalidTemplate",
    "TemplateFailed",
    "Text",
    "View",
    "compile_expression",
    "compile_text",
    "deeply_plain",
    "refuse_undefined_part",
    "render_deep",
]

MAX_EXPRESSION: Final = 4096
#: A text with blocks may be a whole script.
MAX_TEXT: Final = 1 << 18
_CACHED: Final = 2000
#: What the compiled code calls the value of an expression.
_RESULT: Final = "result"


class Text:
    """A checked text; it is compiled when it is rendered first, which takes a hundred times longer.

    Attributes:
        source: As it was written.
        names: What it asks for, beside what it defines itself.
        is_expression: Whether it is one expression, whose value is the result.
        has_blocks: Whether it has `{% … %}`.
    """

    __slots__ = ("_node", "_template", "has_blocks", "is_expression", "names", "source")

    def __init__(
        self,
        source: str,
        node: nodes.Template | None = None,
        names: frozenset[str] = frozenset(),
        *,
        is_expression: bool = False,
        has_blocks: bool = False,
    ) -> None:
        self.source = source
        self.names = names
        self.is_expression = is_expression
        self.has_blocks = has_blocks
        self._node = node
        self._template: Template | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is a text without anything to render."""
        return self._node is None

    def render(self, names: Mapping[str, Any]) -> Any:
        """Return the value of an expression, or the text.

        Args:
            names: From names to values; a value may be a `View` or a `Function`.

        Raises:
            TemplateFailed: a name is undefined, or something cannot be computed.
        """
        if self._node is None:
            return self.source
        given = {name: names[name] for name in self.names if name in names}
        return _guarded(self.source, lambda: self._rendered(given))

    def _rendered(self, given: dict[str, Any]) -> Any:
        if self._template is None:
            assert self._node is not None
            self._node.set_environment(environment)
            self._template = environment.from_string(self._node)
        context = self._template.new_context(given)
        pieces = self._template.root_render_func(context)
        if not self.is_expression:
            return _joined(pieces)
        for _ in pieces:
            pass  # it has no text; running it sets the result
        return _value(context.vars[_RESULT])


def _joined(pieces: Any) -> str:
    found: list[str] = []
    size = 0
    for piece in pieces:
        size += len(piece)
        found.append(piece)
        if size > MAX_TEXT * 4:
            raise TooLarge(f"a text of more than {MAX_TEXT * 4:,} characters")
    return bounded_text("".join(found))


def _value(value: Any) -> Any:
    """Return the value of an expression, as JSON data or a view.

    Raises:
        TypeError: it is something else.
    """
    if value is None or isinstance(value, str | int | float | dict | list) or is_view(value):
        return value
    refuse_undefined(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Function) or not hasattr(value, "__iter__"):
        raise TypeError(f"a {type(value).__name__} is no JSON value")
    return bounded_list(value)


def refuse_undefined_part(value: Any) -> None:
    """Refuse a value that is undefined within a list or mapping that a template has made.

    Raises:
        TemplateFailed: it is; the message names it.
    """
    try:
        refuse_undefined(value)
    except UndefinedError as error:
        raise TemplateFailed(str(error.message)) from None


def _guarded(source: str, work: Callable[[], Any]) -> Any:
    """Run a template; whatever it raises says which template has failed."""
    try:
        return work()
    except UndefinedError as error:
        raise TemplateFailed(f"{error.message}, in {_shortened(source)}") from None
    except (TooLarge, TemplateError, RecursionError, SyntaxError, MemoryError) as error:
        said = str(error) or type(error).__name__
        raise TemplateFailed(f"{said}, in {_shortened(source)}") from None
    except FlowqError:
        raise  # a value that could not be loaded, or cannot be now
    except Exception as error:  # noqa: BLE001 - whatever a filter raises is the template's failure
        said = f"{type(error).__name__}: {error}"
        raise TemplateFailed(f"{said}, in {_shortened(source)}") from None


def _shortened(source: str) -> str:
    text = " ".join(source.split())
    return text if len(text) <= 80 else f"{text[:79]}…"


@lru_cache(maxsize=_CACHED)
def compile_text(source: str, *, blocks: bool = False) -> Text:
    """Compile a text.

    Args:
        source: The text.
        blocks: Whether `{% if %}`, `{% for %}`, `{% set %}` and `{% with %}` are allowed.

    Raises:
        InvalidTemplate: it is no template, or uses what is not allowed.
    """
    if "{{" not in source and "{%" not in source and "{#" not in source:
        return Text(source)
    if len(source) > (MAX_TEXT if blocks else MAX_EXPRESSION):
        limit = MAX_TEXT if blocks else MAX_EXPRESSION
        raise InvalidTemplate(f"a template of {len(source):,} characters; the limit is {limit:,}")
    return _compiled(source, lambda: _parsed(source), blocks=blocks)


@lru_cache(maxsize=_CACHED)
def compile_expression(source: str) -> Text:
    """Compile an expression, without `{{ }}`.

    Raises:
        InvalidTemplate: it is no expression, or uses what is not allowed.
    """
    if len(source) > MAX_EXPRESSION:
        said = f"an expression of {len(source):,} characters; the limit is {MAX_EXPRESSION:,}"
        raise InvalidTemplate(said)
    return _compiled(source, lambda: _expression(source), blocks=False)


def _compiled(source: str, parse: Callable[[], nodes.Template], *, blocks: bool) -> Text:
    try:
        parsed = parse()
        has_blocks = any(not isinstance(one, nodes.Output) for one in parsed.body)
        names = _names(parsed, has_blocks=has_blocks)
        alone = _alone(parsed)
        node = checked(alone if alone is not None else parsed, blocks=blocks)
        if alone is not None:
            target = nodes.Name(_RESULT, "store", lineno=1)
            node = nodes.Template([nodes.Assign(target, node, lineno=1)], lineno=1)
    except TemplateSyntaxError as error:
        raise InvalidTemplate(error.message or "it is no template", _column(source)) from None
    except (RecursionError, MemoryError):
        raise InvalidTemplate("it is nested too deeply") from None
    found = node if isinstance(node, nodes.Template) else None
    return Text(
        source,
        found,
        names,
        is_expression=alone is not None,
        has_blocks=has_blocks and alone is None,
    )


def _parsed(source: str) -> nodes.Template:
    # A text that is an expression alone may have white space around it, as blocks of YAML have.
    text = source.strip() if source.strip().startswith("{{") else source
    found = Parser(environment, text).parse()
    if _alone(found) is None and text is not source:
        found = Parser(environment, source).parse()
    return found


def _names(template: nodes.Template, *, has_blocks: bool) -> frozenset[str]:
    """Return what a template asks for; only blocks define names of their own."""
    if has_blocks:
        template.set_environment(environment)
        found = meta.find_undeclared_variables(template)
    else:
        found = {name.name for name in template.find_all(nodes.Name)}
    return frozenset(found) - environment.globals.keys()


def _expression(source: str) -> nodes.Template:
    parser = Parser(environment, source, state="variable")
    found = parser.parse_expression()
    if not parser.stream.eos:
        current = parser.stream.current
        raise TemplateSyntaxError(f"unexpected {current.value!r} after the expression", 1)
    return nodes.Template([nodes.Output([found], lineno=1)], lineno=1)


def _alone(template: nodes.Template) -> nodes.Expr | None:
    """Return the expression that is all of a template."""
    if len(template.body) != 1 or not isinstance(template.body[0], nodes.Output):
        return None
    inner = template.body[0].nodes
    if len(inner) != 1 or isinstance(inner[0], nodes.TemplateData):
        return None
    return inner[0]


def _column(source: str) -> int | None:
    """Return where the lexer stops in a text, from 1; None when the parser has refused it."""
    offset = 0
    state = None if "{{" in source or "{%" in source else "variable"
    try:
        for _, _, value in environment.lexer.tokeniter(source, None, None, state):
            offset += len(value)
    except TemplateSyntaxError:
        return offset + 1
    return None


def render_deep(value: Any, names: Mapping[str, Any], *, blocks: bool = False) -> Any:
    """Render every text in JSON data.

    Raises:
        TemplateFailed: one cannot be rendered; the message names its path.
        InvalidTemplate: one is no template.
    """
    return _deep(value, names, "", blocks)


def _deep(value: Any, names: Mapping[str, Any], path: str, blocks: bool) -> Any:  # noqa: FBT001
    if isinstance(value, str):
        try:
            return compile_text(value, blocks=blocks).render(names)
        except TemplateFailed as error:
            where = f"{path.lstrip('.')}: " if path else ""
            raise TemplateFailed(f"{where}{error.message}") from None
    if isinstance(value, Mapping):
        return {key: _deep(one, names, f"{path}.{key}", blocks) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_deep(one, names, f"{path}[{at}]", blocks) for at, one in enumerate(value)]
    return value
