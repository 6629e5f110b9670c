"""Parses one feed from stdin and prints its items as JSON: a program of its own, see `feeds`.

feedparser knows every dialect and repairs broken feeds; on some texts it takes quadratic time. That
does no harm here, since the parent process kills this one after a deadline. feedparser gets a
stream, since it may take bytes for the name of a file. It does not sanitise HTML, which would take
most of the time. Long fields and lists are truncated.

Imports nothing of flowq, so that it starts quickly.
"""

import calendar
import codecs
import json
import sys
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final

import feedparser

_MAX_ITEMS: Final = 5_000
_MAX_NAMES: Final = 50
_SHORT: Final = 20_000
_LONG: Final = 200_000
#: Maximum characters of all items; the entities of a feed may expand it.
_MAX_CHARACTERS: Final = 20_000_000
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32le"),  # begins like the next one
    (codecs.BOM_UTF16_LE, "utf-16le"),
    (codecs.BOM_UTF32_BE, "utf-32be"),
    (codecs.BOM_UTF16_BE, "utf-16be"),
)


def items(body: bytes, url: str, charset: str = "") -> list[dict[str, Any]]:
    """Return the items of a feed.

    Raises:
        ValueError: it is no feed.
    """
    feed = feedparser.parse(
        BytesIO(body),
        response_headers={"content-location": url, "content-type": _kind(body, charset)},
        resolve_relative_uris=False,
        sanitize_html=False,
    )
    # Many feeds are slightly invalid and still readable; text of no known kind is no feed.
    if not feed.get("version"):
        why = feed.get("bozo_exception")
        raise ValueError(f"it is not a feed: {str(why)[:300]}" if why else "it is not a feed")
    source = _text(feed.feed.get("title"), _SHORT)
    found, size = [], 0
    for entry in feed.entries[:_MAX_ITEMS]:
        found.append(_item(entry, source))
        size += sum(len(text) for text in found[-1].values() if isinstance(text, str))
        if size > _MAX_CHARACTERS:
            break
    return found


def _kind(body: bytes, charset: str) -> str:
    """Return the content type to assume; the declaration of the feed comes before the server's."""
    marked = next((name for mark, name in _MARKS if body.startswith(mark)), None)
    declared = b"encoding" in body[:300].partition(b"?>")[0]
    charset = marked or ("" if declared else charset)
    return f"application/xml; charset={charset}" if charset else "application/xml"


def _item(entry: Any, source: str) -> dict[str, Any]:
    people = [one.get("name") for one in (entry.get("authors") or [])[:_MAX_NAMES]]
    tags = [one.get("term") for one in (entry.get("tags") or [])[:_MAX_NAMES]]
    return {
        "title": _text(entry.get("title"), _SHORT),
        "link": _text(entry.get("link"), _SHORT),
        "summary": _text(entry.get("summary"), _LONG),
        "published": _moment(entry.get("published_parsed") or entry.get("updated_parsed")),
        "authors": [_text(one, _SHORT) for one in people if one],
        "tags": [_text(one, _SHORT) for one in tags if one],
        "source": source,
        "guid": _text(entry.get("id"), _SHORT),
    }


def _moment(parsed: Any) -> str | None:
    """Return a time; None if no calendar has it."""
    try:
        return datetime.fromtimestamp(calendar.timegm(parsed), UTC).isoformat() if parsed else None
    except (ValueError, OverflowError, OSError, TypeError):
        return None


def _text(value: Any, most: int) -> str:
    # A lone surrogate, such as &#xD800;, is no text that can be stored.
    return str(value or "")[:most].encode("utf-8", "replace").decode()


def main() -> None:
    """Parse the feed on stdin within the limits of this process."""
    url, seconds, memory, charset = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    _limit(seconds, memory)
    try:
        answer: dict[str, Any] = {"items": items(sys.stdin.buffer.read(), url, charset)}
    except (MemoryError, RecursionError) as error:
        answer = {"error": f"it is too large or too deep to read: {type(error).__name__}"}
    except Exception as error:  # noqa: BLE001 - every error of the parser is reported
        answer = {"error": str(error)[:500] or type(error).__name__}
    sys.stdout.write(json.dumps(answer))


def _limit(seconds: int, memory: int) -> None:
    """Limit CPU time and memory, so that the system ends this process if the parent cannot."""
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    for kind, most in ((resource.RLIMIT_CPU, seconds), (resource.RLIMIT_AS, memory)):
        try:
            resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
        except (ValueError, OSError):  # macOS refuses some; the parent has a deadline
            continue


if __name__ == "__main__":
    main()
