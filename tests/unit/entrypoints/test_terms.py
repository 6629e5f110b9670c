"""The terms of a search, as people type them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.engine.queries.lists import RunFilter
from flowq.entrypoints.terms import parse_terms


def test_terms_and_text_are_told_apart() -> None:
    found = parse_terms('late metadata.customer=acme inputs.order="17 b" error=KeyError a=b'[:-4])

    assert found.problem is None
    assert found.added_to(RunFilter()) == RunFilter(
        text="late",
        error_type="KeyError",
        metadata=(("customer", "acme"),),
        inputs=(("order", "17 b"),),
    )


@pytest.mark.parametrize(
    "text, says",
    [
        ("metadata=acme", "not a term"),
        ("size=3", "not a term"),
        ("error.x=KeyError", "not a term"),
        ("step=", "has no value"),
        ("metadata.a=", "has no value"),
    ],
)
def test_wrong_term_is_named(text: str, says: str) -> None:
    assert says in (parse_terms(text).problem or "")


@pytest.mark.parametrize("text", ["inputs.a=1", "metadata.b=1", "metadata.a=1 metadata.b=1"])
def test_contents_are_not_searched_by_those_who_may_not_see_them(text: str) -> None:
    found = parse_terms(text, shows_content=False, labels=["a"])

    assert "hidden" in (found.problem or "")
    assert parse_terms(text).problem is None
    assert parse_terms("metadata.a=1", shows_content=False, labels=["a"]).problem is None


@given(st.text(alphabet=st.characters(exclude_characters="="), max_size=50))
def test_text_without_a_term_is_searched_as_it_is(text: str) -> None:
    found = parse_terms(text)

    assert found.problem is None
    assert found.text == " ".join(text.split())
