"""Addresses are shown without what may be a secret in them."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowq.core.text.masking import masked, without_secrets


@pytest.mark.parametrize(
    "url, text",
    [
        ("redis://:secret@host:6379/0", "redis://host:6379/0"),
        ("redis://user:se@cret@host", "redis://host"),
        ("redis://user:secret/x@host", "redis://…"),
        ("redis://user:12/secret@host", "redis://…"),
        ("redis://user:secret", "redis://…"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("s3://bucket/prefix?key=secret", "s3://bucket/prefix"),
        ("s3://key:secret@bucket/x", "s3://bucket/x"),
        ("redis+socket:///run/redis.sock", "redis+socket:///run/redis.sock"),
        ("sentinel://:secret@a;sentinel://:secret@b/0", "sentinel://a;sentinel://b/0"),
        ("user:secret@host:6379", "…"),
        ("localhost:6379", "localhost:6379"),
        ("sqlite:////data/flowq.db", "sqlite:////data/flowq.db"),
    ],
)
def test_address_loses_its_secrets(url: str, text: str) -> None:
    assert text == masked(url)


@given(
    st.sampled_from(["redis", "postgresql+psycopg", "s3", "https"]),
    st.text("SECRT/@?#:;%[] ", max_size=20).map("SECRET{}SECRET".format),
    st.sampled_from(["", "0", "db?sslmode=require", "db?password=SECRET"]),
)
def test_no_password_is_shown_quoted_or_not(scheme: str, password: str, rest: str) -> None:
    """Also one whose owner has forgotten to quote it."""
    for written in (password, quote(password, safe="")):
        url = f"{scheme}://user:{written}@host:1/{rest}"

        assert "SECRET" not in masked(url)
        assert "SECRET" not in without_secrets(f"{url} is away", url)
        assert "SECRET" not in without_secrets(f"no port in {written!r}", url)
