"""Edges that wait for others, run by the real engine: models, web pages, and types of one's own."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

from flowq import bootstrap
from flowq.blocks.edge_types import _types, edge_type
from flowq.blocks.errors import DocumentInvalid
from flowq.core.states import RunState
from flowq.engine.registry.registry import registry
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.documents import document, play, result, text
from tests.tools.playing import Stage


@pytest.fixture
def _own_types() -> Iterator[None]:
    """Types that a test registers are forgotten after it."""
    known = dict(_types)
    with registry.forgetting():
        yield
    _types.clear()
    _types.update(known)


def edge(kind: str, inputs: dict[str, str], outputs: dict[str, str], **more: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"inputs": inputs, "outputs": outputs, **more}}


def prompt(**more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi {{a}}"}]
    return edge("llm", {"1": "a"}, {"2": ""}, messages=messages, **more)


def test_a_model_is_asked_and_paid_for(stage: Stage, fake_llm: FakeLlm) -> None:
    view = play(stage, document({"ask": prompt()}, {"1": "Ada", "2": ""}))
    assert "Hi Ada" in result(stage, view)["2"]
    assert fake_llm.stats.answered == 1
    assert view.tokens == fake_llm.stats.input_tokens + fake_llm.stats.output_tokens > 0


def test_a_looped_prompt_is_a_map_of_its_items(stage: Stage, fake_llm: FakeLlm) -> None:
    names = text(["Ada", "Bob", "Cy"], looped=True)
    view = play(stage, document({"ask": prompt()}, {"1": names, "2": ""}))
    found = result(stage, view)["2"]
    assert [name in one for name, one in zip(["Ada", "Bob", "Cy"], found, strict=True)] == [
        True
    ] * 3
    assert [(step.key, step.name, step.map_size) for step in view.steps] == [
        ("ask::items", "flowq.block.items", None),
        ("ask", "flowq.edge.llm", 3),
        ("ask::result", "flowq.block.result", None),
    ]
    assert fake_llm.stats.answered == 3


@pytest.mark.parametrize("names", [["Ada"], []])
def test_a_loop_of_one_is_no_list_and_of_none_an_empty_one(
    stage: Stage, fake_llm: FakeLlm, names: list[str]
) -> None:
    view = play(stage, document({"ask": prompt()}, {"1": text(names, looped=True), "2": ""}))
    found = result(stage, view)["2"]
    assert isinstance(found, str) if names else found == []


@pytest.mark.usefixtures("_own_types")
def test_types_of_ones_own_run_as_those_that_ship(stage: Stage) -> None:
    @edge_type("search.web", waits=True)
    async def web(config: dict[str, Any], contents: dict[str, Any]) -> list[str]:
        return [f"{config['extra_configs']['lang']}: {contents['q']}"]

    @edge_type("shout")
    def shout(config: dict[str, Any], contents: dict[str, Any]) -> str:
        return str(contents["q"]).upper()

    edges = {
        "find": edge(
            "search", {"1": "q"}, {"2": ""}, search_type="web", extra_configs={"lang": "en"}
        ),
        "shout": edge("shout", {"1": "q"}, {"3": ""}),
    }
    view = play(stage, document(edges, {"1": text(["a", "b"], looped=True), "2": "", "3": ""}))
    assert result(stage, view) == {"2": [["en: a"], ["en: b"]], "3": ["A", "B"]}
    assert "flowq.edge.search.web" in {step.name for step in view.steps}


@pytest.mark.usefixtures("_own_types")
def test_what_an_item_raises_fails_the_edge(stage: Stage) -> None:
    @edge_type("picky", waits=True)
    def picky(config: dict[str, Any], contents: dict[str, Any]) -> Any:
        if contents["q"] == "b":
            raise ValueError("b is not for me")
        return contents["q"]

    edges = {"pick": edge("picky", {"1": "q"}, {"2": ""})}
    view = play(stage, document(edges, {"1": text(["a", "b"], looped=True), "2": ""}))
    assert view.status is RunState.FAILED
    assert "b is not for me" in (view.error or "")


def test_a_type_without_a_provider_is_refused_with_how_to_add_one(stage: Stage) -> None:
    edges = {"find": edge("search", {"1": "q"}, {"2": ""}, search_type="vector")}
    with pytest.raises(DocumentInvalid, match=r'edge_type\("search.vector"\)') as refusal:
        play(stage, document(edges, {"1": "a", "2": ""}))
    assert refusal.value.code == 3017


def test_chunks_are_searched(stage: Stage) -> None:
    edges = {
        "cut": edge("chunk", {"1": "t"}, {"2": ""}, chunking_mode="simple"),
        "find": edge(
            "search",
            {"3": "q", "2": "docs"},
            {"4": ""},
            search_type="keyword",
            query_id={"3": "q"},
            doc_ids=["2"],
            top_k=1,
        ),
    }
    data = document(edges, {"1": "The sky is blue. A fox jumps.", "2": "", "3": "fox", "4": ""})
    assert result(stage, play(stage, data))["4"] == [" A fox jumps."]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "file:///etc/passwd", "http://u:p@x.org/"])
def test_web_pages_of_this_machine_are_not_loaded(stage: Stage, url: str) -> None:
    link = {"label": "", "type": "weblink", "data": {"content": url}}
    view = play(stage, document({"get": edge("load", {"1": "u"}, {"2": ""})}, {"1": link, "2": ""}))
    assert view.status is RunState.FAILED
    assert "/etc/passwd" not in json.dumps(view.outputs)


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(b"<h1>Title</h1><script>no</script><p>One &amp; two.</p>")

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_a_page_that_may_be_loaded_is_text(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWQ_FETCH_HOSTS", "127.0.0.1")
    bootstrap.settings.cache_clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Page) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        link = {"label": "", "type": "weblink", "data": {"content": url}}
        edges = {"get": edge("load", {"1": "u"}, {"2": ""})}
        view = play(stage, document(edges, {"1": link, "2": ""}))
        server.shutdown()
    bootstrap.settings.cache_clear()
    assert result(stage, view) == {"2": "Title One & two."}
