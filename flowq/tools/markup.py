"""Converts untrusted HTML and links to plain text and safe URLs. Pure; takes linear time.

No regular expression here backtracks over earlier matches: a text of "<" alone takes no longer than
any other of its length. Input that is too long is truncated before it is read.
"""

import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

_MAX_LINK_LENGTH: Final = 4_000
#: Characters of HTML that are read for one character of text.
_MARKUP: Final = 20
_TAG: Final = re.compile(r"<[^<>]*>")
#: The content of these elements is no text for people.
_HIDDEN: Final = re.compile(r"<(/?)(?:script|style)\b[^<>]*>", re.IGNORECASE)


def text_of(markup: str, most: int) -> str:
    """Return HTML as one line of text with a maximum length."""
    shown = "".join(_shown("".join(_uncommented(markup[: most * _MARKUP]))))
    text = " ".join(html.unescape(_TAG.sub(" ", shown)).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def web_link(link: str) -> str:
    """Return an http or https link; an empty text for any other, which might be a script."""
    link = link.strip()
    try:
        place = urlsplit(link)
        is_web = place.scheme in ("http", "https") and bool(place.hostname)
    except ValueError:
        is_web = False
    return link if is_web and len(link) <= _MAX_LINK_LENGTH else ""


def without_user(url: str) -> str:
    """Return a URL without user and password."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"


def _shown(markup: str) -> Iterator[str]:
    """Yield the parts outside of scripts and styles."""
    hidden, end = False, 0
    for found in _HIDDEN.finditer(markup):
        if not hidden:
            yield markup[end : found.start()]
            yield " "
        hidden, end = not found[1], found.end()
    if not hidden:
        yield markup[end:]


def _uncommented(markup: str) -> Iterator[str]:
    """Yield the parts outside of comments."""
    end = 0
    while (start := markup.find("<!--", end)) >= 0:
        yield markup[end:start]
        end = markup.find("-->", start)
        if end < 0:
            return
        end += 3
    yield markup[end:]
