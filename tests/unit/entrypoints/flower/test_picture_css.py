"""Colours of states and pictures contrast with their background, on both themes."""

import re
from pathlib import Path

import flower
import pytest

from flowq.entrypoints.flower.page import STATIC
from flowq.entrypoints.flower.pictures import gantt, graph

CSS = (STATIC / "picture.css").read_text()
PAGES = (STATIC / "flowq.css").read_text()
FLOWER = (Path(flower.__file__).parent / "static" / "css" / "flower.css").read_text()
STATES = ["running", "waiting", "completed", "warning", "failed", "idle"]


def variables(css: str, selector: str) -> dict[str, str]:
    block = re.search(re.escape(selector) + r"\s*\{(.*?)\}", css, re.DOTALL)
    assert block
    return dict(re.findall(r"(--[\w-]+):\s*(#[0-9a-f]{6})", block[1]))


def theme(name: str) -> dict[str, str]:
    """The colours of a theme; of what is Flower's as Flower has it."""
    own = variables(PAGES, ".flowq-page") | variables(CSS, ".fq-svg")
    own |= {"--fq-surface": "#ffffff", "--fq-text": "#212529"}
    if name == "light":
        return own | {"--page": "#f6f8f4"}
    selector = '[data-bs-theme="dark"]'
    theirs = variables(FLOWER, selector)
    dark = own | variables(PAGES, f"{selector} .flowq-page")
    dark |= variables(CSS, f"{selector} .fq-svg")
    return dark | {
        "--fq-surface": theirs["--flower-surface"],
        "--fq-text": theirs["--bs-body-color"],
        "--page": theirs["--bs-body-bg"],
    }


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("name", ["light", "dark"])
def test_contrast_is_enough(name: str) -> None:
    colours = theme(name)
    texts = ["--fq-text", "--fq-muted"]
    states = [f"--flowq-{state}" for state in STATES]
    grounds = ["--fq-surface", "--fq-light", "--page"]
    pairs = [(text, ground, 4.5) for text in texts for ground in grounds]
    pairs += [(shape, ground, 3.0) for shape in ["--fq-line", *states] for ground in grounds]
    pairs += [("--flowq-on", state, 4.5) for state in states]
    pairs += [(state, ground, 4.5) for state in states for ground in ("--fq-surface", "--page")]

    poor = {
        (what, ground): round(contrast(colours[what], colours[ground]), 2)
        for what, ground, least in pairs
        if contrast(colours[what], colours[ground]) < least
    }

    assert poor == {}


def test_every_class_that_a_module_names_has_a_style() -> None:
    named = {
        name
        for module in (graph, gantt)
        for name in re.findall(r"fq-[a-z_]+", module.__doc__ or "")
    }

    assert {name for name in named if name not in CSS} <= {"fq-row"}
