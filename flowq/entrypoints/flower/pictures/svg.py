"""Common parts of the pictures: escaped text, elements, the frame.

A picture is one inline `<svg>` without script and style, which is in `picture.css`, and with all
text escaped. Its `title` and `desc` describe it in words. With links its role is group, not image,
since screen readers do not enter an image.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from html import escape
from itertools import accumulate
from typing import Final
from unicodedata import east_asian_width

from flowq.core.states import DONE_STEP_STATES, StepState
from flowq.engine.queries.graph import PictureNode
from flowq.entrypoints.formatting import MARKS, count

#: Characters that XML and HTML cannot contain, not even escaped.
_UNPRINTABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0001fffd]"
)

_WIDTHS: Final = {
    **dict.fromkeys("fijlrt.,:;'|!()[] ", 0.65),
    **dict.fromkeys("mwM@%", 1.5),
    "W": 1.7,
    "·": 0.5,
}

#: From a step to the target of its link, or None.
Link = Callable[[PictureNode], str | None]

#: The order of states in a bar of several steps.
_BAR: Final = (
    StepState.COMPLETED,
    StepState.FAILED,
    StepState.CANCELLED,
    StepState.SKIPPED,
    StepState.RETRYING,
    StepState.RUNNING,
    StepState.WAITING,
)


def safe(text: object) -> str:
    """Return text for an element or an attribute."""
    return escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text)))


def shortened(text: str, columns: float) -> str:
    """Return text that is about as wide as this number of letters at most; fonts differ."""
    ends = list(accumulate(map(_columns, text)))
    if not ends or ends[-1] <= columns:
        return text
    return text[: bisect_right(ends, columns - 1)].rstrip(" ·") + "\N{HORIZONTAL ELLIPSIS}"


def columns_of(text: str) -> float:
    """Return about how many letters like `a` are as wide as a text."""
    return sum(map(_columns, text))


def _columns(sign: str) -> float:
    """Return the width of a character in letters like `a`."""
    if sign in _WIDTHS:
        return _WIDTHS[sign]
    if sign.isascii():
        return 1.2 if sign.isupper() else 1.0
    return 2.0 if east_asian_width(sign) in "WF" else 1.2


def element(tag: str, *inside: str, **attributes: object) -> str:
    """Return an element; `inside` is markup.

    Args:
        tag: Its name.
        attributes: `cls` is `class`, `_` is `-`; None omits an attribute, a float is rounded.
    """
    given = "".join(
        f' {"class" if name == "cls" else name.replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{given}>{''.join(inside)}</{tag}>" if inside else f"<{tag}{given}/>"


def label(x: float, y: float, text: str, cls: str, *, columns: float = 80, **more: object) -> str:
    """Return one line of text."""
    return element("text", safe(shortened(text, columns)), x=x, y=y, cls=cls, **more)


def linked(href: str | None, inside: str) -> str:
    """Return markup as a link, if there is a target."""
    return inside if href is None else element("a", inside, href=href)


def nowhere(_: PictureNode) -> None:
    """Return no target: the `Link` of a picture without links."""


def framed(
    parts: Iterable[str],
    *,
    prefix: str,
    cls: str,
    title: str,
    desc: str,
    width: float,
    height: float,
) -> str:
    """Return a whole picture.

    Args:
        parts: Its markup.
        prefix: Prefix of its ids, unique on the page.
        cls: Classes beside `fq-svg`.
        desc: A description in words.
        width: Width of the drawing.
        height: Height of the drawing.
    """
    inside = "\n".join(parts)
    return element(
        "svg",
        element("title", safe(title), id=f"{prefix}-title"),
        element("desc", safe(desc), id=f"{prefix}-desc"),
        inside,
        xmlns="http://www.w3.org/2000/svg",
        cls=f"fq-svg {cls}",
        role="group" if "<a " in inside else "img",
        aria_labelledby=f"{prefix}-title {prefix}-desc",
        viewBox=f"0 0 {_value(width)} {_value(height)}",
        width=width,
        height=height,
    )


def progress(node: PictureNode, x: float, y: float, width: float, height: float) -> str:
    """Return a bar of the states of several steps."""
    total = max(node.size or sum(node.counts.values()), 1)
    bars = [element("rect", x=x, y=y, width=width, height=height, rx=2, cls="fq-rest")]
    left = x
    for state in _BAR:
        share = width * node.counts.get(state, 0) / total
        if share:
            share = min(max(share, 1.5), x + width - left)  # so that one of ten thousand is visible
            bars.append(
                element(
                    *("rect",),
                    x=left,
                    y=y,
                    width=max(share, 0.0),
                    height=height,
                    cls=f"fq-fill fq-{state}",
                )
            )
            left += share
    return "".join(bars)


def counted(node: PictureNode) -> str:
    """Return the progress of several steps in words."""
    if node.size is None:
        return "items not known yet"
    counts = node.counts
    done = sum(counts.get(state, 0) for state in DONE_STEP_STATES)
    words = [f"{count(done)} of {count(node.size)}"]
    words += [
        f"{count(counts[state])} {state}"
        for state in (StepState.FAILED, StepState.CANCELLED, StepState.RUNNING, StepState.RETRYING)
        if counts.get(state)
    ]
    return " · ".join(words)


def sign(state: str) -> str:
    """Return the sign of a state, so that the colour is not its only mark."""
    return MARKS[state].sign


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".removesuffix(".0")
    return safe(value)
