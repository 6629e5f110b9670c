"""HTML of strangers as text: all of it in one pass, whatever it holds."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.tools.markup import text_of, web_link, without_user

PIECES = [
    "<",
    ">",
    "</",
    "<!--",
    "-->",
    "<script>",
    "</style >",
    "&",
    "&#",
    "&amp;",
    "<a ",
    "'",
    " ",
]


@pytest.mark.parametrize("piece", PIECES)
def test_repetition_costs_no_more_than_its_length(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    began = time.process_time()

    text_of(text, len(text))

    assert time.process_time() - began < 20  # what grows with the square would take hours


@given(st.lists(st.sampled_from([*PIECES, "a", "é"]), max_size=60).map("".join), st.integers(1, 50))
def test_text_is_one_line_within_its_length(markup: str, most: int) -> None:
    text = text_of(markup, most)

    assert len(text) <= most
    assert text == " ".join(text.split())


@pytest.mark.parametrize(
    "markup, text",
    [
        ("<p>One &amp; <b>two</b></p>", "One & two"),
        ("a < b", "a < b"),
        ("<!-- x -->a<!-- open", "a"),
        ("a<script>x<b>y</b></script>b", "a b"),
        ("a<STYLE type='x'>p {}", "a"),
        ("</script>a", "a"),
        ("<<b>>", "< >"),
    ],
)
def test_text(markup: str, text: str) -> None:
    assert text == text_of(markup, 100)


def test_links_of_the_web_are_kept() -> None:
    assert "https://a.example/x?y#z" == web_link(" https://a.example/x?y#z\n")
    for bad in (
        "javascript:x",
        "data:,x",
        "HTTP://",
        "http://[",
        "/x",
        "mailto:a@b",
        "http://" * 2000,
    ):
        assert "" == web_link(bad)


@pytest.mark.parametrize(
    "url, shown",
    [
        ("http://a:b@c/d@e", "http://c/d@e"),
        ("http://c/d?x=a@b", "http://c/d?x=a@b"),
        ("no address", "no address"),
        ("a:b@c", "a:b@c"),
    ],
)
def test_user_and_password_are_left_out(url: str, shown: str) -> None:
    assert shown == without_user(url)
