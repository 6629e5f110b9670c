"""Whatever is asked of the Flows tab, it answers with a status that says whose fault it is."""

import json
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowq import flow, signal
from tests.tools.cluster import cluster_on
from tests.tools.flowers import flower

HEADERS = {
    "x-frame-options": "DENY",
    "content-security-policy": "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
MIB = 1024 * 1024


@flow(name="tests.hostile")
async def waits() -> Any:
    return await signal("go")


@dataclass
class Asked:
    """An answer, read from the bare connection."""

    status: int
    headers: Mapping[str, str]
    text: str


@dataclass
class Site:
    """A Flower, asked by bytes: no client's library stands between.

    Attributes:
        form_at: The path of a form that stays open, for the token; else each form's own.
    """

    port: int
    form_at: str = ""

    def ask(
        self, path: str | bytes, method: str = "GET", body: bytes = b"", **headers: str
    ) -> Asked:
        target = path if isinstance(path, bytes) else path.encode()
        given = {"Host": f"127.0.0.1:{self.port}", "Connection": "close", **headers}
        if body or method == "POST":
            given["Content-Length"] = str(len(body))
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
        head = b" ".join([method.encode(), target, b"HTTP/1.1"])
        whole = b"\r\n".join([head, *(line.encode() for line in lines), b"", body])
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as peer:
            peer.sendall(whole)
            answer = b""
            while part := peer.recv(65536):
                answer += part
        top, _, text = answer.partition(b"\r\n\r\n")
        first, *rest = top.decode("latin-1").split("\r\n")
        pairs = (line.split(": ", 1) for line in rest)
        found = {name.lower(): value for name, value in pairs}
        status = int(first.split()[1]) if first else 400  # closed without a word: no HTTP
        return Asked(status, found, text.decode(errors="replace"))

    def form(self, path: str, fields: Mapping[str, str | bytes], **headers: str) -> Asked:
        """Send a form as its page would."""
        shown = self.ask(self.form_at or path)
        token = re.search(r'name="_xsrf" value="([^"]+)"', shown.text)
        cookie = shown.headers["set-cookie"].partition(";")[0]
        assert token is not None
        body = urlencode({"_xsrf": token[1], **fields}).encode()
        kind = "application/x-www-form-urlencoded"
        return self.ask(path, "POST", body, Cookie=cookie, Content_Type=kind, **headers)


HOSTILE = [
    *(
        "%00",
        "x%00y",
        "%ff%fe",
        "%ed%a0%80",
        "%c0%af",
        "%",
        "%zz",
        "%0d%0aX:1",
        "%1b%5b2J",
        "%e2%80%ae",
    ),
    *(
        "..%2f..%2fetc%2fpasswd",
        "../../app.py",
        "%2e%2e/%2e%2e/app.py",
        ";",
        "'",
        "%22%3e%3cscript",
    ),
    *("a" * 3_000, "%F0%9F%98%80" * 200, "-1", "9" * 400, "nan", "null", "[]", "{}", "%7B%7D"),
]
VALUES = [
    *("%00", "%ff", "9" * 5_000, "-1", "1e999", "nan", "%f0%9f%98%80", "0000", "²", "%d9%a3"),
    *("2026-13-45", "99999-01-01", "2026-01-01T00:00%2b99:99", "a" * 5_000, "%", "[]", "..%2f"),
]
ARGUMENTS = [
    *("state", "flow", "user", "text", "within", "from", "to", "children", "before", "after"),
    *("strips", "window", "done", "status", "kind"),
]
#: The arguments that a page reads; a database gets the values of the first ones.
READ = {
    "": (
        ("flow", "user", "text", "from", "to", "before", "after"),
        ("state", "within", "children", "strips", "done"),
    ),
    "/cost": (("flow", "user", "key"), ("window",)),
    "/{run_id}": (
        ("text", "before", "after", "attempt", "index", "kind"),
        ("state", "level", "order", "done"),
    ),
}


def paths(run_id: str, *, all_of_them: bool) -> list[str]:
    """Return addresses; all of them, or those with values that reach a database."""
    tabs = ["graph", "gantt", "steps", "errors", "events", "cost"]
    tabs += ["signal", "cancel", "budget", "pause", "resume"]
    found = ["/flows", "/flows/cost", "/flows/", "/flows/live/x", "/flows//", f"/flows/{run_id}/"]
    found += [f"/flows/{bad}" for bad in HOSTILE]
    found += [f"/flows/{'-' * 36}", f"/flows/{'0' * 36}", f"/flows/{'f' * 36}/steps"]
    starts = ["/flows/by-name/", f"/flows/{run_id}/steps/"]
    for start in [*starts, *(["/flows/static/"] if all_of_them else [])]:
        found += [f"{start}{bad}" for bad in ("", *HOSTILE)]
    found.append("/flows/static/flowq.css%00")
    found += [f"/flows/{run_id}/{bad}" for bad in HOSTILE]
    pages = ["/flows", "/flows/cost", f"/flows/{run_id}", "/flows/by-name/tests.hostile"]
    pages += [f"/flows/{run_id}/{tab}" for tab in tabs]
    for page, (stored, others) in READ.items():
        address = f"/flows{page.format(run_id=run_id)}"
        names = [*stored, *(others if all_of_them else [])]
        found += [f"{address}?{name}={bad}" for name in names for bad in VALUES]
        unread = set(ARGUMENTS).difference(stored, others) if all_of_them else ()
        found += [f"{address}?{name}={VALUES[0]}" for name in sorted(unread)]
    found += [
        f"{page}?text={bad}&after={bad}&before={bad}&state={bad}"
        for page in pages
        for bad in VALUES
    ]
    return found + [f"/flows/{run_id}/{name}.json" for name in ("inputs", "outputs")]


#: Strange, and yet JSON that both databases keep.
STORABLE = ['"\\u0000"', '{"a\\u0000": 1}']
PAYLOADS = [
    *STORABLE,
    *("NaN", "Infinity", "-Infinity", '"\\ud800"', "[" * 100_000),
    *('{"a":' * 50_000, "1e999", "9" * 5_000, "{", '"', "nul", "\x00", '{"\\udfff": 1}', "[1,]"),
    "[" * 900 + "]" * 900,
]
FIELDS = {
    "budget": [
        {"usd": bad} for bad in ("nan", "-1", "9" * 9_000, "1e999999999", "\x00", "1_0", "²")
    ]
    + [
        {"tokens": bad}
        for bad in ("nan", "-1", "9" * 9_000, "1.5", "٣" * 5_000, "0", "99999999999")
    ],
    "signal": [{"name": "go", "value:json": bad} for bad in PAYLOADS]
    + [{"name": bad, "value:json": "1"} for bad in ("", "x" * 10_000, "a\x00", "\u202e" * 500)]
    + [{}],
    "pause": [{"reason": "\x00"}, {"reason": "x" * 1_000_000}],
}


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Any:
    with (
        cluster_on(database_url, tmp_path / "cluster", FLOWQ_SHOW_CONTENT="1") as cluster,
        flower(cluster) as url,
    ):
        form_at = f"/flows/{cluster.submit(waits)}/cancel"
        yield Site(urlsplit(url).port or 0, form_at), str(cluster.submit(waits))


@pytest.mark.slow
def test_no_request_is_flowqs_fault(site: tuple[Site, str], database_url: str) -> None:
    flower, run_id = site
    is_sqlite = database_url.startswith("sqlite")  # what reaches no database is asked once
    failed = [
        path[:200]
        for path in paths(run_id, all_of_them=is_sqlite)
        for asked in [flower.ask(path)]
        if asked.status >= 500 or (asked.status < 400 and "%00" in path.partition("?")[0])
    ]
    assert [] == failed

    texts = st.text(max_size=30).map(lambda text: quote(text.encode(errors="surrogatepass")))
    raw = st.binary(max_size=20).map(lambda data: re.sub(rb"[\s?#]", b"%", data))

    @settings(max_examples=75, suppress_health_check=list(HealthCheck))
    @given(
        start=st.sampled_from(
            ["/flows/", "/flows/by-name/", f"/flows/{run_id}/steps/", "/flows/x/"]
        ),
        end=texts.map(str.encode) | raw,
        query=st.dictionaries(st.sampled_from(ARGUMENTS), texts, max_size=3),
    )
    def any_path(start: str, end: bytes, query: dict[str, str]) -> None:
        pairs = "&".join(f"{name}={text}" for name, text in query.items())
        asked = flower.ask(start.encode() + end + b"?" + pairs.encode())
        assert asked.status < 500

    any_path()
    _forms_are_refused(flower, run_id)
    _others_are_refused(flower, run_id)


def _forms_are_refused(flower: Site, run_id: str) -> None:
    for action, forms in FIELDS.items():
        for fields in forms:
            asked = flower.form(f"/flows/{run_id}/{action}", fields)
            case = (action, json.dumps(fields)[:80], asked.status)
            assert asked.status in {400, 303, 409}, case
            if action == "signal":
                assert (303 if fields.get("value:json") in STORABLE else 400) == asked.status, case
    large = flower.form(
        f"/flows/{run_id}/signal", {"name": "go", "value:json": '"' + "x" * 3 * MIB}
    )
    assert 413 == large.status
    assert "2.0 MiB" in large.text


def _others_are_refused(flower: Site, run_id: str) -> None:
    path = f"/flows/{run_id}/cancel"
    for kind in (
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=x",
        "\xff",
    ):
        for body in (b"{}", b"[1]", b"\xff\xfe", b"--x\r\n\r\n", b"a=%ff&_xsrf=%00"):
            assert flower.ask(path, "POST", body, Content_Type=kind).status in {400, 403}
    for method in ("PUT", "DELETE", "PATCH", "HEAD", "TRACE", "FOO"):
        assert flower.ask("/flows", method).status in {400, 403, 405, 501}, method
    for origin in ("http://[", "null", "http://evil.example", "", "\x7f"):
        asked = flower.form(path, {"reason": "x"}, Origin=origin)
        assert asked.status in ({400, 403} if origin else {303}), origin
    assert 403 == flower.form(f"/flows/{run_id}/pause", {}, Sec_Fetch_Site="cross-site").status
    for seen in ("x", "-1", "9" * 5_000, "a-" + "9" * 5_000, "\xff"):
        # A stream does not end by itself: who asks for a run that is none gets none.
        assert 404 == flower.ask(f"/flows/{'0' * 36}/live", Last_Event_ID=seen).status


def test_no_page_can_be_framed(site: tuple[Site, str]) -> None:
    flower, run_id = site
    pages = ["/flows", "/flows/cost", f"/flows/{run_id}", f"/flows/{run_id}/cancel"]
    pages += ["/flows/static/flowq.css", "/flows/static/none", "/flows/none", "/flows/none/x"]
    pages += [f"/flows/{'0' * 36}", "/flows/by-name/none", "/flows?state=none"]

    for page in pages:
        asked = flower.ask(page)
        assert HEADERS.items() <= asked.headers.items(), page
    assert 404 == flower.ask("/flows/none").status
