"""The edge `load`: reads content from a block, from a file, or from a web page.

Files must be in the folder of FLOWQ_BLOCKS_FILES, after links are resolved. URLs must lead to
public addresses, or to those of FLOWQ_FETCH_HOSTS; the result is the text of the page.
"""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

from flowq.blocks.edges.settings import EdgeSettings, Flaw, Settings, flaws, own, unknown_name
from flowq.blocks.edges.texts import parsed
from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import as_text
from flowq.core.errors import InvalidFlow
from flowq.llm.caller import current_settings
from flowq.tools.markup import text_of

_MOST_BYTES: Final = 64 * 1024 * 1024
#: Characters of the text of a page.
_MOST_TEXT: Final = 2_000_000
_CHARSET: Final = re.compile(r"charset=[\"']?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)
_TYPES: Final = ("json", "txt", "md", "markdown", "csv")


def load_text(_config: dict[str, Any], contents: dict[str, Any]) -> str:
    """Return the content as text."""
    return as_text(_only(contents))


def load_structured(_config: dict[str, Any], contents: dict[str, Any]) -> Any:
    """Return the content as data: a text that is none is an error."""
    content = _only(contents)
    if not isinstance(content, str):
        return content
    data = parsed(content)
    if data is None:
        raise EdgeFailed(Code.CONVERSION, "the content is text that is no list and no dict")
    return data


def load_file(config: dict[str, Any], _contents: dict[str, Any]) -> Any:
    """Return the content of a file, or of several as a list.

    Raises:
        EdgeFailed: no folder may be read, or a file cannot be.
    """
    found = [_read(one) for one in config["extra_configs"]["file_configs"]]
    return found[0] if len(found) == 1 else found


async def load_weblink(_config: dict[str, Any], contents: dict[str, Any]) -> str:
    """Return the text of the page at a URL: what the input holds.

    Raises:
        FetchRefused: the URL may not be fetched.
        FetchFailed: it does not answer as it should.
    """
    try:
        from flowq.tools.fetch import fetch  # noqa: PLC0415 - only here the library is needed
    except ImportError as error:
        raise InvalidFlow(
            f"web pages cannot be loaded here: {error}", hint='pip install "flowq[llm]"'
        ) from error
    url = as_text(_only(contents)).strip()
    answer = await fetch(url, rules=current_settings().fetch_rules)
    kind = answer.content_type.partition(";")[0].strip().lower()
    body = _decoded(answer.body, answer.content_type)
    return text_of(body, _MOST_TEXT) if kind in ("text/html", "application/xhtml+xml") else body


class _Edge(EdgeSettings):
    block_type: str | None = None


class Files(Settings):
    """Settings of an edge that loads files."""

    file_configs: Annotated[list[Any], Field(min_length=1)]


class File(Settings):
    """One file; its type is that of its name if it is not given."""

    file_path: str
    file_type: str | None = None


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    yield from flaws(_Edge, own(config))
    yield from flaws(Settings, config.get("extra_configs") or {}, ("extra_configs",))


def check_file(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge that loads files."""
    yield from flaws(_Edge, own(config))
    extra = config.get("extra_configs") or {}
    yield from flaws(Files, extra, ("extra_configs",))
    configs = extra.get("file_configs") if isinstance(extra, Mapping) else None
    for number, one in enumerate(configs if isinstance(configs, list) else ()):
        at = ("extra_configs", "file_configs", number)
        wrong = list(flaws(File, one, at))
        yield from wrong
        if all(flaw.warns for flaw in wrong) and _type_of(one) not in _TYPES:
            yield Flaw((*at, "file_type"), unknown_name("file_type", _type_of(one), _TYPES))


def _only(contents: Mapping[str, Any]) -> Any:
    if len(contents) != 1:
        raise EdgeFailed(Code.EDGE, f"load takes the content of one block, it has {len(contents)}")
    return next(iter(contents.values()))


def _type_of(one: Mapping[str, Any]) -> str:
    return str(one.get("file_type") or Path(str(one["file_path"])).suffix.removeprefix(".")).lower()


def _read(one: Mapping[str, Any]) -> Any:
    text = _text_of(str(one["file_path"]))
    kind = _type_of(one)
    if kind == "json":
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _refused(one, f"it is not JSON: {error}") from None
    if kind == "csv":
        return list(csv.DictReader(io.StringIO(text)))
    return text


def _text_of(path: str) -> str:
    folder = current_settings().blocks_files
    if folder is None:
        raise EdgeFailed(
            Code.EDGE, "workers may read no files", hint="FLOWQ_BLOCKS_FILES names the folder"
        )
    root = folder.resolve()
    try:
        file = (root / path).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise _refused({"file_path": path}, "there is no such file in FLOWQ_BLOCKS_FILES")
        if file.stat().st_size > _MOST_BYTES:
            raise _refused({"file_path": path}, f"it has more than {_MOST_BYTES:,} bytes")
        return file.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = "it is not UTF-8" if isinstance(error, UnicodeDecodeError) else type(error).__name__
        raise _refused({"file_path": path}, why) from None


def _refused(one: Mapping[str, Any], why: str) -> EdgeFailed:
    return EdgeFailed(Code.EDGE, f"the file {one['file_path']!r} cannot be loaded: {why}")


def _decoded(body: bytes, content_type: str) -> str:
    found = _CHARSET.search(content_type)
    try:
        return body.decode(found[1] if found else "utf-8", errors="replace")
    except LookupError:
        return body.decode(errors="replace")
