"""The `curl` of pages reads command lines as curl does."""

from pathlib import Path

import pytest

from tests.tools.docs.client import Request, read

JSON = {"Content-Type": "application/json", "Accept": "application/json"}


def test_a_plain_address_is_fetched() -> None:
    assert read(["-sN", "localhost:80/a?b=1"]) == Request(
        url="http://localhost:80/a?b=1", method="GET", flags={"--silent", "--no-buffer"}
    )


def test_data_are_posted_from_the_line_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "body").write_bytes(b"text")
    posted = read(["http://here/", "--json", "{}"])
    assert (posted.method, posted.body, posted.headers) == ("POST", b"{}", JSON)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    posted = read(["here", "-d", f"@{tmp_path / 'body'}"])
    assert (posted.method, posted.body, posted.headers) == ("POST", b"text", form)


def test_a_header_and_a_method_are_as_given() -> None:
    given = ["-X", "PUT", "here", "-H", "Content-Type: text/yaml", "-d", "a"]
    assert (read(given).method, read(given).headers) == ("PUT", {"Content-Type": "text/yaml"})


@pytest.mark.parametrize("option", ["--retry", "-k", "-sk"])
def test_an_unknown_option_is_refused(option: str) -> None:
    with pytest.raises(SystemExit, match="does not know"):
        read([option, "here"])
