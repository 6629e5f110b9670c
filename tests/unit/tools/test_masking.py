"""Secrets are masked in all shapes in which they can be read."""

import base64
import html
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.tools.masking import MASK, Mask

SECRETS = st.text(st.characters(codec="utf-8"), min_size=4, max_size=40).filter(
    lambda text: len(text.strip()) >= 4
)
AROUND = st.text(st.characters(codec="utf-8"), max_size=9)


def masked(value: Any, *secrets: Any) -> Any:
    mask = Mask()
    for secret in secrets:
        mask.add(secret)
    return mask.masked(value)


@given(secret=SECRETS, before=AROUND, after=AROUND)
@pytest.mark.parametrize(
    "write",
    [
        lambda text, secret: text,
        lambda text, secret: json.dumps(text),
        lambda text, secret: json.dumps(text, ensure_ascii=False),
        lambda text, secret: json.dumps({"in": json.dumps(text)}),
        lambda text, secret: repr(text),
        lambda text, secret: repr({"a": [text, "'", '"']}),
        lambda text, secret: quote(text),
        lambda text, secret: quote_plus(text),
        lambda text, secret: urlencode({"a": text}),
        lambda text, secret: html.escape(text),
        lambda text, secret: f"'{text.replace(chr(39), chr(39) * 2)}'",
        lambda text, secret: base64.b64encode(secret.encode()).decode(),
    ],
)
def test_a_secret_is_masked_however_it_is_written(
    write: Callable[[str, str], str], secret: str, before: str, after: str
) -> None:
    written = write(before + secret + after, secret)
    alone = write(secret, secret).strip("\"'")
    assert MASK in masked(written, secret)
    if secret not in before + after:
        assert secret not in masked(written, secret)
        assert alone == MASK or alone not in masked(written, secret)


@given(secret=SECRETS.filter(lambda text: len(text.encode()) >= 12), before=AROUND, after=AROUND)
def test_of_base64_with_something_around_it_no_more_than_an_edge_is_left(
    secret: str, before: str, after: str
) -> None:
    coded = base64.b64encode((before + secret + after).encode()).decode()
    left = masked(coded, secret)
    assert len(coded) - len(left.replace(MASK, "")) >= len(secret.encode()) * 4 // 3 - 7


@pytest.mark.parametrize(
    "secret, text, wanted",
    [
        ("first-line\nshort\nlast-line-x", "it has last-line-x!", "it has ***!"),
        ("first-line\nshort\nlast-line-x", "it is short", "it is short"),
        ("postgresql://ann:p%40ss@db/shop", "ann: p@ss, or p%40ss", "ann: ***, or ***"),
        (
            {"kind": "basic", "user": "root", "password": "pa55"},
            "basic root pa55",
            "basic root ***",
        ),
        ({"host": "db.shop", "port": 5432, "dbname": "shop"}, "db.shop 5432", "db.shop 5432"),
        ({"deep": [{"token": "t0ken"}]}, "a t0ken", "a ***"),
        (123456, "it is 123456", "it is ***"),
        (2026, "it is 2026", "it is 2026"),
        ("abc", "abcdef", "abcdef"),
        (True, "True", "True"),
    ],
)
def test_what_is_secret(secret: Any, text: str, wanted: str) -> None:
    assert wanted == masked(text, secret)


def test_all_of_a_value_is_masked() -> None:
    value = {"t0ken": [1, 987654, "a t0ken", None, True, {"n": 98765.5}], "n": 98765}
    wanted = {MASK: [1, MASK, "a ***", None, True, {"n": MASK}], "n": 98765}
    assert wanted == masked(value, "t0ken", 987654, 98765.5)


def test_a_secret_in_another_one_leaves_nothing_of_it() -> None:
    assert "*** ***" == masked("abcd-efgh abcd", "abcd", "abcd-efgh")
