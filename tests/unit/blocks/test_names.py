"""The names in the run of a document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.blocks import names
from flowq.core.graph import MAX_NAME_LENGTH


@pytest.mark.parametrize(
    "title, name",
    [(None, "blocks"), ("", "blocks"), (" \n", "blocks"), ("Hello\tAda ", "blocks:Hello Ada")],
)
def test_the_flow_is_named_after_the_document(title: str | None, name: str) -> None:
    assert name == names.of_flow(title)


@given(st.text(max_size=2 * MAX_NAME_LENGTH))
def test_every_title_makes_the_name_of_a_document(title: str) -> None:
    name = names.of_flow(title)
    assert names.is_flow(name)
    assert name.isprintable()
    assert len(name) <= MAX_NAME_LENGTH


def test_other_names_are_none_of_a_document() -> None:
    assert not names.is_flow("blocksmith")
    assert not names.is_step("flowq.advance")
