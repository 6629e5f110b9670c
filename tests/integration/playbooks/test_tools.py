"""The tools of playbooks, called directly: http, python, sql, secrets, steps (N13-N24)."""

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowq.authoring.definitions.steps import step
from flowq.core.errors import FlowqError
from flowq.engine.registry.registry import registry
from flowq.engine.runtime.text_stream import Streams
from flowq.playbooks.control.commands import carried
from flowq.playbooks.running import tools
from flowq.playbooks.running.kinds.call import CallFailed
from flowq.settings import Settings
from tests.tools.controls.driving import Drive, playbook
from tests.tools.playbooks.service import serving

SECRET = "tok-'12\"34567890"


class Handler(BaseHTTPRequestHandler):
    """Echoes requests as JSON; `/status/N` answers with that status, `/text` with a text."""

    def do_GET(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        echo = {
            "method": self.command,
            "path": self.path,
            "body": self.rfile.read(length).decode(),
            "type": self.headers.get("content-type"),
            "authorization": self.headers.get("authorization"),
        }
        parts = self.path.partition("?")[0].split("/")
        status = int(parts[2]) if parts[1] == "status" else 200
        is_text = parts[1] == "text"
        body = b"plain" if is_text else json.dumps(echo).encode()
        if parts[1] == "large":
            body = b"x" * (20 * 1024 * 1024 + 1)
        self.send_response(status)
        self.send_header("content-type", "text/plain" if is_text else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_PUT = do_GET  # noqa: N815 - as the library calls them

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(Handler) as url:
        yield url


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Return what a test may change of the settings of the worker."""
    credentials = tmp_path / "credentials.json"
    credentials.write_text(
        json.dumps(
            {
                "api": {"kind": "bearer", "token": SECRET},
                "db": {"kind": "sqlite", "database": "a.db"},
                "one": {"kind": "value", "value": SECRET},
            }
        ),
        encoding="utf-8",
    )
    credentials.chmod(0o600)
    files = tmp_path / "files"
    files.mkdir()
    (files / "script.py").write_text("def main(a): return a + 1", encoding="utf-8")
    given: dict[str, Any] = {
        "fetch_hosts": "127.0.0.1",
        "credentials": str(credentials),
        "playbook_env": "A_KEY",
        "playbook_files": files,
    }
    monkeypatch.setenv("A_KEY", SECRET)
    monkeypatch.setattr(tools, "current_settings", lambda: Settings(**given))
    return given


def call(kind: str, /, args: Any = None, context: Any = None, **config: Any) -> Any:
    return asyncio.run(tools.TOOLS[kind](config=config, args=args, context=context))


def test_http_gives_an_envelope(url: str) -> None:
    found = call("http", endpoint=f"{url}/a?x=1", params={"page": 2, "tag": ["a", "b"], "no": None})
    assert (found["status"], found["status_code"]) == (200, 200)
    assert found["data"]["path"] == "/a?x=1&page=2&tag=a&tag=b"
    assert found["headers"]["content-type"] == "application/json"
    assert call("http", url=f"{url}/text")["data"] == "plain"


def test_http_sends_mappings_as_json_and_texts_as_they_are(url: str) -> None:
    sent = call("http", method="post", url=f"{url}/a", data={"ä": 1})["data"]
    assert (sent["method"], sent["body"], sent["type"]) == ("POST", '{"ä": 1}', "application/json")
    sent = call("http", method="PUT", url=f"{url}/a", body="a=1", headers={"Content-Type": "x/y"})
    assert (sent["data"]["body"], sent["data"]["type"]) == ("a=1", "x/y")


def test_a_status_from_400_on_fails_with_status_and_body(url: str) -> None:
    with pytest.raises(CallFailed, match="HTTP 404 from GET") as caught:
        call("http", endpoint=f"{url}/status/404", params={"key": "hidden"})
    assert "hidden" not in str(caught.value)
    assert caught.value.details["status"] == 404
    assert caught.value.details["body"]["path"] == "/status/404?key=hidden"  # type: ignore[index]


@pytest.mark.parametrize(
    "config, message",
    [
        ({"url": "URL/large"}, "bytes"),
        ({"url": "URL/a", "method": "BREW"}, "unknown method"),
        ({"url": "URL/a", "headers": {"a": "b\r\nc: d"}}, "header"),
        ({"url": "URL/a", "headers": {"a\n": "b"}}, "header"),
        ({"url": "http://127.0.0.2:9/"}, "not public"),
        ({"url": "file:///etc/passwd"}, "http"),
        ({}, "needs endpoint or url"),
        ({"url": "URL/a", "auth": "gone"}, "no credential 'gone'"),
        ({"url": "URL/a", "timeout": "soon"}, "timeout"),
    ],
)
def test_http_refuses(url: str, config: dict[str, Any], message: str) -> None:
    given = {
        key: value.replace("URL", url) if key == "url" else value for key, value in config.items()
    }
    with pytest.raises(FlowqError, match=message):
        call("http", **given)


def test_a_secret_reaches_the_server_and_nobody_else(url: str) -> None:
    heading = {"$text": "Bearer {{ secret.A_KEY }}", "names": {}}
    for config in (
        {"auth": "api"},
        {"headers": {"authorization": heading}},
        {"headers": {"authorization": {"$text": "Bearer {{ auth.api.token }}", "names": {}}}},
        {"headers": {"authorization": f"Bearer {call('secrets', name='A_KEY')['value']}"}},
    ):
        assert call("http", url=f"{url}/a", **config)["data"]["authorization"] == "Bearer ***"
        with pytest.raises(CallFailed) as caught:
            call("http", url=f"{url}/status/500", **config)
        assert caught.value.details["body"]["authorization"] == "Bearer ***"  # type: ignore[index]
        assert SECRET not in json.dumps(caught.value.details)


def test_a_handle_is_no_secret_and_cannot_be_forged(url: str) -> None:
    handle = call("secrets", provider="credential", name="one")["value"]
    assert SECRET not in handle
    assert call("secrets", name="HOME") == {}
    forged = handle[:-32] + "0" * 32
    with pytest.raises(FlowqError, match="not of its present value"):
        call("http", url=f"{url}/a", headers={"x": forged})
    # Printed by code, in an exception of code, in its result.
    code = "def main(key):\n assert len(key) == 16\n return {key: [key]}"
    assert call("python", {"key": handle}, code=code) == {"***": ["***"]}
    with pytest.raises(FlowqError) as caught:
        call("python", {"key": handle}, code="def main(key): raise ValueError('no ' + key)")
    assert caught.value.message == "no ***"
    assert "tok-" not in json.dumps(caught.value.details)  # type: ignore[attr-defined]


def test_credentials_that_others_may_read_are_refused(settings: dict[str, Any], url: str) -> None:
    Path(settings["credentials"]).chmod(0o644)
    with pytest.raises(FlowqError, match="others may read"):
        call("http", url=f"{url}/a", auth="api")


@pytest.mark.parametrize("where", ["process", "inline"])
def test_python_runs_code_where_the_operator_lets_it(settings: dict[str, Any], where: str) -> None:
    settings["playbook_python"] = where
    assert call("python", {"a": 1}, code="result = a + 1") == 2
    assert call("python", {"a": 1}, script="script.py") == 2
    assert call("python", {"a": 1}, code_b64="cmVzdWx0ID0gYSArIDE=") == 2
    for script in ("../credentials.json", "gone.py", "/etc/passwd"):
        with pytest.raises(CallFailed, match="FLOWQ_PLAYBOOK_FILES"):
            call("python", script=script)
    settings["playbook_python"] = "off"
    with pytest.raises(CallFailed, match="FLOWQ_PLAYBOOK_PYTHON"):
        call("python", code="result = 1")


@pytest.mark.parametrize("where", ["process", "inline"])
def test_what_code_prints_is_a_stream_of_its_step(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    settings["playbook_python"] = where
    said: list[tuple[str, Any]] = []
    streams = Streams(lambda kind, **fields: said.append((kind.__name__, fields.get("text"))))
    attempt = SimpleNamespace(stream=streams)
    monkeypatch.setattr("flowq.playbooks.running.kinds.python.current_or_none", lambda: attempt)
    handle = call("secrets", name="A_KEY")["value"]
    code = "print('a', 1, sep='-', end='')\nprint(' b', key)\nprint('c', end='')\nresult = 1"

    assert call("python", {"key": handle}, code=code) == 1

    assert "a-1 b ***\nc" == "".join(text for _, text in said if text)
    assert {"StreamStarted", "StreamChunk", "StreamEnded"} == {kind for kind, _ in said}
    said.clear()
    call("python", code="result = 1")
    assert [] == said


def test_an_error_is_cut_after_its_secrets_are_masked() -> None:
    handle = call("secrets", name="A_KEY")["value"]
    code = "raise ValueError('x' * 3_992 + key + 'x' * 99)"
    with pytest.raises(FlowqError) as caught:
        call("python", {"key": handle}, code=code)
    assert "x" * 3_992 + "***" + "x" * 5 == caught.value.message


def test_statements_run_on_files_of_the_folder(settings: dict[str, Any]) -> None:
    made = "CREATE TABLE t (n INT); INSERT INTO t VALUES (1), (2)"
    assert call("sqlite", database="a.db", command=made) == {"row_count": 2}
    assert call("sqlite", auth="db", query="SELECT sum(n) AS n FROM t") == [{"n": 3}]
    assert (settings["playbook_files"] / "a.db").exists()
    with pytest.raises(CallFailed, match="FLOWQ_PLAYBOOK_FILES"):
        call("sqlite", database="../a.db", query="SELECT 1")
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
    with pytest.raises(CallFailed, match="took too long"):
        call("sqlite", query=endless, timeout=0.2)


def test_a_task_asserts_its_arguments_and_its_result() -> None:
    context = {"expects": ["a"], "returns": ["b"]}
    assert call("noop", {"a": 1, "b": 2}, context) == {"a": 1, "b": 2}
    for args in ({"b": 1}, {"a": 1}):
        with pytest.raises(CallFailed) as caught:
            call("noop", args, context)
        assert caught.value.details["type"] == "AssertionError"


def test_a_registered_step_is_called_with_checked_arguments() -> None:
    @step(name="tests.tools.add")
    def add(a: int, b: int = 2) -> int:
        return a + b

    assert add(1) == 3
    assert "tests.tools.add" in registry.steps
    assert call("step", {"a": "1"}, name="tests.tools.add") == 3
    with pytest.raises(CallFailed, match="missing"):
        call("step", {"b": 1}, name="tests.tools.add")
    with pytest.raises(CallFailed, match="no step 'gone'"):
        call("step", name="gone")
    for own in ("flowq.pipeline.node", "flowq.langgraph"):  # they import what their inputs name
        with pytest.raises(CallFailed, match="of flowq itself are not for playbooks"):
            call("step", {"function": "os:getcwd", "parts": []}, name=own)


def left(args: Any) -> Any:
    """Return what a worker makes of arguments, for the item 5 as `n`."""
    return asyncio.run(tools.TOOLS["noop"](config={}, args=args, item=5, iterator="n"))


def test_templates_that_were_left_are_rendered_with_the_item() -> None:
    assert {"n": 11} == left({"n": {"$text": "{{ n * 2 + base }}", "names": {"base": 1}}})


def test_template_of_a_template_is_rendered() -> None:
    """An argument that needs the item, in a field that uses the argument."""
    inner = {"$text": "{{ n * 2 }}", "names": {}}
    assert {"a": "10!"} == left({"a": {"$text": "{{ x }}!", "names": {"x": inner}}})


def test_names_of_a_template_are_seen_as_everywhere() -> None:
    envelope = {"status_code": 200, "data": {"page": 3}}
    names = {"response": {"$data": envelope}}
    text = {"$text": "{{ response.page }}", "names": names, "results": ["response"]}
    assert {"a": 3} == left({"a": text})


def test_data_from_outside_is_no_template() -> None:
    """A server that answers with one reads no secret."""
    evil = {"$text": "{{ secret.A_KEY }}", "names": {}}
    following = {"step": "start", "next": [{"step": "a", "args": {"x": "{{ start }}"}}]}
    command = Drive(playbook(following, {"step": "a"}), {"start": [evil]}).commands[1]

    assert {"x": evil} == left(carried(command.args))
