"""Texts with templates: values as they are, pieces as text, nothing that escapes or explodes."""

import contextlib
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.errors import StoreUnavailable
from flowq.tools.text import (
    MISSING,
    Function,
    InvalidTemplate,
    TemplateFailed,
    compile_expression,
    compile_text,
    deeply_plain,
    render_deep,
)

NAMES: dict[str, Any] = {
    "n": 12,
    "x": None,
    "word": "it's",
    "items": [{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}],
    "response": {"data": {"items": [1, 2], "keys": "k"}, "status": 200},
    "now": Function(lambda: "2026-01-01T00:00:00+00:00"),
}


@pytest.mark.parametrize(
    "text, value",
    [
        ("plain", "plain"),
        ("{{ 12 }}", 12),
        ("{{ n }}", 12),
        ("  {{ n }}\n", 12),
        ("n{{ 12 }}", "n12"),
        ("{{ n }}{{ n }}", "1212"),
        ("{{ x }}", None),
        ("<{{ x }}>", "<>"),
        ("{{ items }}", NAMES["items"]),
        ("{{ response.data.items }}", [1, 2]),
        ("{{ response.data.keys }}", "k"),
        ("{{ response.status }}/{{ response.data }}", '200/{"items": [1, 2], "keys": "k"}'),
        ("{{ items[1].id + 1 }}", 3),
        ("{{ items | map(attribute='id') }}", [1, 2]),
        ("{{ items | selectattr('tags') | list | length }}", 1),
        ("{{ items[0].tags | join(', ') }}", "a, b"),
        ("{{ {'a': n, 'b': [x]} }}", {"a": 12, "b": [None]}),
        ("{{ (n, 1) }}", [12, 1]),
        ("{{ word | sql }}", "'it''s'"),
        ("{{ word.upper() ~ n }}", "IT'S12"),
        ("{{ 'a,b'.split(',') }}", ["a", "b"]),
        ("{{ response.get('gone', 7) }}", 7),
        ("{{ missing | default(3) }}", 3),
        ("{{ missing is defined }}", False),
        ("{{ response.items is defined }}", False),
        ("{{ response['items'] is defined }}", False),
        ("{{ response.items | default([]) }}", []),
        ("{{ word.count is defined }}", False),
        ("{{ response.items() | map('first') | list }}", ["data", "status"]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ now() }}", "2026-01-01T00:00:00+00:00"),
        ("{{ now() | strftime('%Y') }}", "2026"),
        ("{{ items | tojson }}", '[{"id": 1, "tags": ["a", "b"]}, {"id": 2, "tags": []}]'),
        ("{{ '<&>' | tojson }}", '"<&>"'),
        ('{{ \'{"a": 1}\' | fromjson }}', {"a": 1}),
        ("{{ 'yes' if n > 3 else 'no' }}", "yes"),
        ("{{ 'a b' | urlencode }}", "a%20b"),
        ("{{ 'aé' | b64encode | b64decode }}", "aé"),
        ("{# nothing #}", ""),
    ],
)  # fmt: skip
def test_value_of_a_text(text: str, value: Any) -> None:
    assert value == compile_text(text).render(NAMES)


def test_text_with_blocks_where_they_are_allowed() -> None:
    text = "{% for one in items %}{{ loop.index }}:{{ one.id }}{% if not loop.last %},{% endif %}{% endfor %}"  # noqa: E501
    assert "1:1,2:2" == compile_text(text, blocks=True).render(NAMES)
    with pytest.raises(InvalidTemplate, match="blocks are allowed in fields of a tool"):
        compile_text(text)


#: What stock sandboxes let through, and others; each has to be refused quickly.
BOMBS = [
    "{{ response.gone() }}",
    "{{ response.copy() }}",
    "{{ word.format(1) }}",
    "{{ word.__len__() }}",
    "{{ response.data.items() }}",  # the key is a list
    "{{ ''.__class__ }}",
    "{{ ''['__class__'] }}",
    "{{ items.__init__.__globals__ }}",
    "{{ now.__call__ }}",
    "{{ now.call.__globals__ }}",
    "{{ range.__self__ }}",
    "{{ '' | attr('__class__') }}",
    "{{ '{:>10000000000}'.format(1) }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ '%s' | format(1) }}",
    "{{ '%0999999999d' % 1 }}",
    "{{ 'x' | center(1000000000) }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ 'x'.zfill(1000000000) }}",
    "{{ 'x'.expandtabs(1000000000) }}",
    "{{ 'x' * 1000000000 }}",
    "{{ [1] * 1000000000 }}",
    "{{ 9 ** 99999 }}",
    "{{ 10 ** 100000 }}",
    "{{ range(1000000000) }}",
    "{{ range(10001) }}",
    "{{ 'x'.replace('', 'y' ~ range(9999)).replace('', 'z' ~ range(9999)) }}",
    "{{ (range(9999) | join('x')) | replace('', range(9999) | join) }}",
    "{{ range(9) | batch(1000000000, 0) }}",
    "{{ range(9) | slice(1000000000) }}",
    "{{ 2.5 | round(1000000000, 'ceil') }}",
    "{{ [[1], [2]] | sum(start=[]) }}",
    "{{ now() | strftime('%1000000000Y') }}",
    "{{ range(9) | tojson(indent=1000000000) }}",
    "{{ lipsum(100000) }}",
    "{{ cycler('a', 'b') }}",
    "{{ namespace(a=1) }}",
    "{{ self }}",
    "{{ joiner() }}",
    "{{ dict(a=1) }}",
    "{{ n() }}",
    "{{ now(*items) }}",
    "{{ items | map('format', 1) }}",
    "{{ items | random }}",
    "{{ 'a' | wordwrap(0) }}",
    "{{ items | groupby('id') }}",
    "{{ 'x' | indent(1000000000) }}",
    "{{ 'x' | pprint }}",
    "{{ 'x' | xmlattr }}",
    "{{ [" * 200 + "]}}" * 200,
    "{{ " + "(" * 500 + "1" + ")" * 500 + " }}",
    "{{ " + "not " * 900 + "1 }}",
    "{{ n" + ".a" * 1900 + " }}",
    "{{ " + "1 + " * 900 + "1 }}",
    "{{ '" + "x" * 5000 + "' }}",
]
BLOCK_BOMBS = [
    "{{ response.data.items() }}",  # the key is a list
    "{% import 'os' as os %}",
    "{% include '/etc/passwd' %}",
    "{% extends 'a' %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% call n() %}{% endcall %}",
    "{% block a %}{% endblock %}",
    "{% filter upper %}a{% endfilter %}",
    "{% for a in items recursive %}{{ loop(items) }}{% endfor %}",
    "{% set ns.a = 1 %}",
    "{% for a in range(10000) %}{% for b in range(10000) %}xxxxxxxxxxxxxx{% endfor %}{% endfor %}",
    "{% set a = [1] %}" + "{% set a = [a, a] %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "{% set a = 'x' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "{% set a = 3 %}" + "{% set a = a * a %}" * 40 + "{{ a }}",
    "{% set a = [1] %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
]


@pytest.mark.parametrize("text", BOMBS, ids=lambda text: text[:40])
def test_escapes_and_bombs_are_refused(text: str) -> None:
    with pytest.raises((InvalidTemplate, TemplateFailed)):
        compile_text(text).render(NAMES)


@pytest.mark.parametrize("text", BLOCK_BOMBS, ids=lambda text: text[:40])
def test_escapes_and_bombs_in_blocks_are_refused(text: str) -> None:
    with pytest.raises((InvalidTemplate, TemplateFailed)):
        compile_text(text, blocks=True).render(NAMES)


_PIECES = [
    "{{", "}}", "{%", "%}", "{#", "#}", "n", "items", "response", ".", "[", "]", "(", ")", "|", "~",
    "+", "*", "**", "%", "//", "==", "\n", "in", "not", "is", "if", "else", "for", "set", "defined",
    "'",
    '"', "a", "0", "1e999", "map", "join", "replace", "tojson", "sum", ",", ":", "{", "}", " ",
    "__class__", "range", "\\", "é", "\ud800",
]  # fmt: skip


@given(st.lists(st.sampled_from(_PIECES), max_size=25).map("".join), st.booleans())
def test_no_text_raises_anything_else(text: str, blocks: bool) -> None:  # noqa: FBT001
    with contextlib.suppress(InvalidTemplate, TemplateFailed):
        compile_text(text, blocks=blocks).render(NAMES)
    with contextlib.suppress(InvalidTemplate, TemplateFailed):
        compile_expression(text).render(NAMES)


@given(st.text(string.printable, max_size=40))
def test_no_expression_raises_anything_else(text: str) -> None:
    with contextlib.suppress(InvalidTemplate, TemplateFailed):
        compile_text("{{ " + text + " }}").render(NAMES)


class Loaded:
    """A view that counts how often it is loaded."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self.loads = 0

    def __flowq_get__(self, name: str | int) -> Any:
        return Loaded(self._value[name]) if name in self._value else MISSING

    def __flowq_value__(self) -> Any:
        self.loads += 1
        return self._value


class Away(Loaded):
    def __flowq_value__(self) -> Any:
        raise StoreUnavailable("the store does not answer")


def test_outage_while_a_view_is_loaded_is_no_failure_of_the_template() -> None:
    """Whoever renders it can wait, and render it again."""
    with pytest.raises(StoreUnavailable):
        compile_expression("view == 1").render({"view": Away([1])})


def test_view_passes_through_whole_and_is_loaded_for_anything_else() -> None:
    view = Loaded({"a": [1, 2]})
    assert compile_text("{{ v }}").render({"v": view}) is view
    part = compile_text("{{ v.a }}").render({"v": view})
    assert isinstance(part, Loaded)
    assert 0 == view.loads


@pytest.mark.parametrize(
    "text, value",
    [
        ("{{ v.a | length }}", 2),
        ("{{ v.a }}!", "[1, 2]!"),
        ("{{ v }}!", '{"a": [1, 2], "none": [], "text": "t"}!'),
        ("{{ 1 in v.a and v.a == [1, 2] }}", True),
        ("{{ v.a != v.a }}", False),
        ("{{ v.a | reverse }}", [2, 1]),
        ("{{ v.a + v.a }}", [1, 2, 1, 2]),
        ("{{ v.text ~ v.text }}", "tt"),
        ("{{ v.text.upper() }}", "T"),
        ("{{ 'some' if v.none else 'none' }}", "none"),
        ("{{ not v.none }}", True),
        ("{{ (v.none or 7) }}", 7),
        ("{{ v.gone is defined }}", False),
        ("{{ v.a is defined }}", True),
        ("{{ v.a is sequence }}", True),
        ("{{ v.get('a') }}", [1, 2]),
        ("{{ [v.text] | join }}", "t"),
        ("{{ [v.a] | tojson }}", "[[1, 2]]"),
        ("{% for one in v.a %}{{ one }}{% endfor %}", "12"),
        ("{% if v.none %}a{% else %}b{% endif %}", "b"),
    ],
)  # fmt: skip
def test_view_is_its_value_for_whatever_computes(text: str, value: Any) -> None:
    view = Loaded({"a": [1, 2], "none": [], "text": "t"})
    assert value == deeply_plain(compile_text(text, blocks=True).render({"v": view}))


def test_error_names_the_path_and_the_template() -> None:
    with pytest.raises(
        TemplateFailed, match=r"body\.rows\[1\]: 'gone' is undefined, in {{ gone }}"
    ):
        render_deep({"body": {"rows": ["{{ n }}", "{{ gone }}"]}}, NAMES)


@pytest.mark.parametrize(
    "text, column",
    [("{{ n }", 6), ("{{ a.b == 'x' } }}", 15), ("{{ 'x }}", 4)],
)
def test_slip_of_syntax_has_its_column(text: str, column: int) -> None:
    with pytest.raises(InvalidTemplate) as error:
        compile_text(text)
    assert column == error.value.column


def test_names_are_those_that_are_asked_for() -> None:
    text = "{% for one in items %}{{ one }}{{ response.data }}{% endfor %}{{ range(2) }}"
    assert {"items", "response"} == compile_text(text, blocks=True).names
