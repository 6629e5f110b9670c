"""Placeholders: what stands for a whole keeps its type, what stands in a text becomes text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks import placeholders
from flowq.blocks.errors import EdgeFailed
from flowq.blocks.placeholders import replaced, text

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON)
def test_a_placeholder_alone_is_the_content_itself(content: Any) -> None:
    assert replaced("{{ a }}", {"a": content}) is content


@given(JSON)
def test_a_text_is_text_whatever_is_put_into_it(content: Any) -> None:
    assert isinstance(text("{{a}}", {"a": content}), str)


@pytest.mark.parametrize(
    "template, expected",
    [
        ("Hello {{a}}!", "Hello Ada!"),
        ("{{a}}{{b}}", 'Ada["ü"]'),
        ("{{a}} and {{ a }}", "Ada and Ada"),
        ("no braces", "no braces"),
        ("{a} {{a}", "{a} {{a}"),
        ({"x": "{{b}}", "y": ["{{a}}."]}, {"x": ["ü"], "y": ["Ada."]}),
        (7, 7),
    ],
)
def test_placeholders_are_replaced(template: Any, expected: Any) -> None:
    assert replaced(template, {"a": "Ada", "b": ["ü"]}) == expected


@pytest.mark.parametrize("template", ["{" * 1_000_000, "{{a" * 300_000, "{{" + "a" * 1_000_000])
def test_braces_that_never_close_are_text(template: str) -> None:
    assert text(template, {"a": 1}) == template


def test_what_is_put_in_is_not_looked_at_again() -> None:
    assert text("{{a}} {{b}}", {"a": "{{b}}", "b": "B"}) == "{{b}} B"


def test_only_within_a_longer_text_contents_are_escaped() -> None:
    contents = {"a": 'say "hi"\n\\'}
    assert replaced("{{a}}", contents, escape=True) == contents["a"]
    assert replaced("<{{a}}>", contents, escape=True) == '<say \\"hi\\"\\n\\\\>'


def test_a_label_that_no_input_has_is_an_error_that_names_those_it_has() -> None:
    with pytest.raises(EdgeFailed, match="Block c not found: the inputs of this edge are 'a', 'b'"):
        replaced("{{c}}", {"a": 1, "b": 2})


def test_a_text_of_many_large_contents_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(placeholders, "MOST", 1000)
    with pytest.raises(EdgeFailed, match="over 1,000 characters"):
        text("{{a}}" * 101, {"a": "x" * 10})
