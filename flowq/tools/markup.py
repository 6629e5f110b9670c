"""HTML and links from outside as plain text and safe addresses. Pure; time grows with the length.

No expression here looks back over what another has read: a text of "<" alone takes no longer than
any other of its length. What no honest text has is cut off before it is read.
"""

import html
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

_MAX_LINK_LENGTH: Final = 4_000
#: Of HTML, for one character of text.
_MARKUP: Final = 20
_TAG: Final = re.compile(r"<[^<>]*>")
#: What stands between these is no text for people.
_HIDDEN: Final = re.compile(r"<(/?)(?:script|style)\b[^<>]*>", re.IGNORECASE)


def text_of(markup: str, most: int) -> str:
    """Return HTML as one line of text, of so many characters at most."""
    shown = "".join(_shown("".join(_uncommented(markup[: most * _MARKUP]))))
    text = " ".join(html.unescape(_TAG.sub(" ", shown)).split())
    return text if len(text) <= most else f"{text[: most - 1]}…"


def web_link(link: str) -> str:
    """Return a link of the web; nothing for one that a browser would run, or that leads nowhere."""
    link = link.strip()
    try:
        place = urlsplit(link)
        is_web = place.scheme in ("http", "https") and bool(place.hostname)
    except ValueError:
        is_web = False
    return link if is_web and len(link) <= _MAX_LINK_LENGTH else ""


def without_user(url: str) -> str:
    """Return an address without a user and a password, as far as it has any."""
    scheme, mark, rest = url.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}"


def _shown(markup: str) -> Iterator[str]:
    """Yield what is not in a script or a style."""
    hidden, end = False, 0
    for found in _HIDDEN.finditer(markup):
        if not hidden:
            yield markup[end : found.start()]
            yield " "
        hidden, end = not found[1], found.end()
    if not hidden:
        yield markup[end:]


def _uncommented(markup: str) -> Iterator[str]:
    """Yield what is not in a comment."""
    end = 0
    while (start := markup.find("<!--", end)) >= 0:
        yield markup[end:start]
        end = markup.find("-->", start)
        if end < 0:
            return
        end += 3
    yield markup[end:]
