"""The pictures of runs in a real Chromium: texts stay in their boxes, and Tab reaches links."""

from pathlib import Path

import flower
import pytest
from playwright.sync_api import Browser, Page

from flowq.core.spec import StepKind
from flowq.core.states import AttemptEnd, RunState, StepState
from flowq.engine.queries.graph import ChildRun, EdgeKind, PictureEdge, PictureNode, RunPicture
from flowq.entrypoints.flower.page import STATIC
from flowq.entrypoints.flower.pictures.gantt import run_gantt
from flowq.entrypoints.flower.pictures.graph import run_graph
from tests.unit.entrypoints.flower.pictures.picturing import CHILD, at, node, past, run

CSS = Path(flower.__file__).parent / "static" / "css"
WIDEST = "W" * 60


def page_of(browser: Browser, svg: str, theme: str, width: int) -> Page:
    styles = [CSS / "bootstrap.min.css", CSS / "flower.css"]
    styles += [STATIC / "flowq.css", STATIC / "picture.css"]
    css = "".join(file.read_text() for file in styles)
    page = browser.new_page(viewport={"width": width, "height": 800})
    page.set_content(
        f'<!doctype html><html lang="en" data-bs-theme="{theme}"><title>x</title>'
        f"<style>{css}</style><body class='app-body flowq-page'>"
        f"<div style='overflow-x: auto'>{svg}</div>"
    )
    return page


def picture() -> RunPicture:
    counts = {StepState.COMPLETED: 8765, StepState.FAILED: 1234, StepState.RUNNING: 1}
    nodes = [
        node("fetch", 1, 4, attempts=3, past=(past(1, 0, 0.5, AttemptEnd.LOST),)),
        node(WIDEST, 4, None, StepState.RUNNING, attempts=12),
        node("map", 4, None, StepState.RUNNING, is_map=True, size=10_000, counts=counts),
        node(
            "child",
            4,
            None,
            StepState.WAITING,
            kind=StepKind.FLOW,
            child=ChildRun(CHILD, RunState.CANCELLING),
        ),
        node("last", None, None, StepState.PENDING),
    ]
    condition = PictureEdge("map", "last", EdgeKind.CONDITION, f"map.output == {WIDEST!r}")
    edges = ["fetch>map", f"fetch>{WIDEST}", "fetch>child", "child>last"]
    return run(nodes, edges, RunState.RUNNING, also=(condition,))


@pytest.mark.parametrize("width", [1280, 420])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_stay_in_their_boxes(browser: Browser, theme: str, width: int) -> None:
    page = page_of(browser, run_graph(picture(), now=at(3700)), theme, width)

    beyond = page.evaluate(
        """() => [...document.querySelectorAll(".fq-node")].flatMap(node => {
             const box = [...node.querySelectorAll(".fq-box")].at(-1).getBBox();
             return [...node.querySelectorAll("text")]
               .filter(one => one.getBBox().x + one.getBBox().width > box.x + box.width)
               .map(one => one.textContent);
           })"""
    )

    assert beyond == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page stands still"


def to_child(node: PictureNode) -> str | None:
    return None if node.child is None else f"#{node.child.id}"


def test_link_to_a_child_run_is_reached_by_tab_and_shows_it(browser: Browser) -> None:
    for draw in (run_graph, run_gantt):
        svg = draw(picture(), now=at(20), link=to_child)
        page = page_of(browser, svg, "light", 1280)
        stroke = "getComputedStyle(document.querySelector('a :is(.fq-box, .fq-lane)')).strokeWidth"
        before = page.evaluate(stroke)

        page.keyboard.press("Tab")

        assert page.evaluate("document.activeElement.getAttribute('href')") == f"#{CHILD}"
        assert page.evaluate(stroke) != before
        page.keyboard.press("Enter")
        page.wait_for_function(f"location.hash === '#{CHILD}'")
