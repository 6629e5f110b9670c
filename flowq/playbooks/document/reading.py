"""Reads YAML (and so JSON) into plain data and the place of every value.

The parser's events are taken one by one: a document that nests deep or whose aliases multiply is
refused while it is read. (The C library composes a whole document by recursion, and `"[" * 100_000`
ends the process.) Scalars follow the core schema of YAML 1.2, in which `yes`, `on` and dates are
texts; `012` is one here too, since YAML 1.1 takes it for ten. In `compat` mode `yes no on off` are
booleans, and of equal keys the last counts.

What is wrong is collected, and reading goes on where it can: a value that cannot be used is null.
"""

import codecs
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from flowq.core.errors import InvalidInput
from flowq.core.text.json_values import flaw_of_text
from flowq.playbooks.document.problems import NOWHERE, InvalidPlaybook, Mark, Place, Problem

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 64
#: Values after aliases are followed, and characters of all of them.
MAX_NODES: Final = 200_000
MAX_CHARACTERS: Final = 4 * MAX_BYTES

_CORE: Final = {"null": None, "true": True, "false": False}
_WORDS: Final[dict[str, Any]] = {"": None, "~": None} | {
    form: value for word, value in _CORE.items() for form in (word, word.title(), word.upper())
}
_WORDS_1_1: Final = {
    form: word in {"yes", "on"}
    for word in ("yes", "no", "on", "off")
    for form in (word, word.title(), word.upper())
}
_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
#: How many digits of an integer are read; Python refuses 4,300.
_MOST_DIGITS: Final = 4_000
_TAG: Final = "tag:yaml.org,2002:"
_UNREADABLE: Final = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


@dataclass(frozen=True, slots=True)
class Read:
    """A document as plain data, where its values stand, and what could not be read."""

    data: Any
    places: Place
    problems: tuple[Problem, ...]


def read(source: str | bytes, *, compat: bool = False, name: str = "") -> Read:
    """Read a document.

    Args:
        source: YAML or JSON; as bytes in UTF-8 or, with a byte order mark, UTF-16.

    Raises:
        InvalidPlaybook: it is no YAML, or beyond a limit; problems that allow reading on are
            returned with the data.
    """
    text = _decoded(source, name)
    reader = _Reader(compat=compat)
    try:
        reader.read(text)
    except _Stop as stop:
        raise InvalidPlaybook([*reader.problems, stop.problem], name) from None
    return Read(reader.data, reader.places, tuple(reader.problems))


class _Stop(Exception):
    """Nothing after this can be read."""

    def __init__(self, mark: Mark, message: str) -> None:
        self.problem = Problem(mark[0] + 1, mark[1] + 1, "", message)


def _decoded(source: str | bytes, name: str) -> str:
    """Return the text of a document, without a byte order mark."""
    if len(source) > MAX_BYTES:
        size = f"{len(source):,} {'characters' if isinstance(source, str) else 'bytes'}"
        message = f"the document has {size}; the limit is {MAX_BYTES:,}"
        raise InvalidPlaybook([Problem(1, 1, "", message)], name)
    text = source if isinstance(source, str) else _from_bytes(source, name)
    text = text.removeprefix("\ufeff")
    if wrong := _UNREADABLE.search(text):
        message = f"Invalid YAML: the character U+{ord(wrong[0]):04X} may not stand in YAML"
        raise InvalidPlaybook([_problem_after(text[: wrong.start()], message)], name)
    return text


def _from_bytes(source: bytes, name: str) -> str:
    is_wide = source.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encoding = "utf-16" if is_wide else "utf-8"
    try:
        return source.decode(encoding)
    except UnicodeDecodeError as error:
        before = source[: error.start].decode(encoding, "replace")
        message = f"Invalid YAML: the text is not {encoding.upper()}: {error.reason}"
        raise InvalidPlaybook([_problem_after(before, message)], name) from None


def _problem_after(before: str, message: str) -> Problem:
    lines = before.split("\n")
    return Problem(len(lines), len(lines[-1]) + 1, "", message)


@dataclass(slots=True)
class _Open:
    """A container that is being read; of a mapping also the key that waits for its value."""

    value: Any
    places: Any
    mark: Mark
    anchor: str | None
    key: str | None = None
    key_mark: Mark = (-1, -1)
    is_merge: bool = False
    merged: list[tuple[dict[str, Any], Any]] = field(default_factory=list)


class _Reader:
    """Builds data and places from events."""

    def __init__(self, *, compat: bool) -> None:
        self.compat = compat
        self.data: Any = None
        self.places: Place = NOWHERE
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, tuple[Any, Place] | None] = {}
        self._measures = _Measures()
        self._nodes = 0
        self._characters = 0
        self._words = _WORDS | _WORDS_1_1 if compat else _WORDS

    def read(self, text: str) -> None:
        """Read the events of a text.

        Raises:
            _Stop: nothing more can be read.
        """
        documents = 0
        handlers = {
            "ScalarEvent": self._scalar,
            "MappingStartEvent": self._begin,
            "SequenceStartEvent": self._begin,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
            "AliasEvent": self._alias,
        }
        for event in _events(text):
            name = type(event).__name__
            if handler := handlers.get(name):
                handler(event)
            elif name == "DocumentStartEvent":
                documents += 1
                if documents > 1:
                    raise _Stop(_mark(event), "a file holds one playbook; this is a second one")
        if not documents:
            raise _Stop((0, 0), "the document is empty; begin with 'apiVersion: noetl.io/v2'")

    def _say(self, mark: Mark, message: str) -> None:
        self.problems.append(Problem(mark[0] + 1, mark[1] + 1, "", message))

    # --- events ----------------------------------------------------------------------------------

    def _scalar(self, event: Any) -> None:
        mark = _mark(event)
        self._count(1, len(event.value), mark)
        parent = self._open[-1] if self._open else None
        if parent and type(parent.value) is dict and parent.key is None:
            self._begin_entry(parent, event, mark)
            return
        value = self._value(event, mark)
        if event.anchor:
            self._anchors[event.anchor] = (value, (*mark, None))
        self._put(value, (*mark, None))

    def _begin(self, event: Any) -> None:
        mark = _mark(event)
        self._count(1, 0, mark)
        if len(self._open) >= MAX_DEPTH:
            raise _Stop(mark, f"the document nests deeper than {MAX_DEPTH} levels")
        is_mapping = type(event).__name__ == "MappingStartEvent"
        if event.tag not in {None, "!", f"{_TAG}map" if is_mapping else f"{_TAG}seq"}:
            self._say(mark, f"the tag {_shown(event.tag)} is not supported; delete it")
        if self._is_key_expected():
            raise _Stop(mark, "a key must be a text, not a list or a mapping")
        if event.anchor:
            self._anchors[event.anchor] = None  # an alias to it, inside of it, is a cycle
        new: tuple[Any, Any] = ({}, {}) if is_mapping else ([], [])
        self._open.append(_Open(*new, mark, event.anchor))

    def _end(self, _event: Any) -> None:
        done = self._open.pop()
        for value, places in done.merged:  # the keys that are written have priority
            for key in value:
                if key not in done.value:
                    done.value[key] = value[key]
                    done.places[key] = places[key]
        place: Place = (*done.mark, done.places)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, place)
        self._put(done.value, place)

    def _alias(self, event: Any) -> None:
        mark = _mark(event)
        if self._is_key_expected():
            raise _Stop(mark, "a key must be a text, not an alias")
        if event.anchor not in self._anchors:
            raise _Stop(mark, f"the anchor {event.anchor!r} is not defined above")
        target = self._anchors[event.anchor]
        if target is None:
            raise _Stop(mark, f"the alias {event.anchor!r} stands inside of what it names")
        nodes, characters, height = self._measures.of(target[0])
        self._count(nodes, characters, mark)
        if len(self._open) + height > MAX_DEPTH:
            raise _Stop(mark, f"the document nests deeper than {MAX_DEPTH} levels")
        self._put(*target)

    # --- building --------------------------------------------------------------------------------

    def _count(self, nodes: int, characters: int, mark: Mark) -> None:
        self._nodes += nodes
        self._characters += characters
        if self._nodes > MAX_NODES or self._characters > MAX_CHARACTERS:
            raise _Stop(
                mark,
                f"the document has more than {MAX_NODES:,} values or {MAX_CHARACTERS:,} characters"
                " after its aliases are followed",
            )

    def _is_key_expected(self) -> bool:
        parent = self._open[-1] if self._open else None
        return parent is not None and type(parent.value) is dict and parent.key is None

    def _begin_entry(self, parent: _Open, event: Any, mark: Mark) -> None:
        key = event.value
        parent.key, parent.key_mark = key, mark
        parent.is_merge = key == "<<" and not event.style
        if event.anchor:
            self._anchors[event.anchor] = (key, (*mark, None))
        if not key.isascii() and (why := flaw_of_text(key)):
            self._say(mark, f"the key {why}")
            parent.key = key.encode(errors="replace").decode()
        if "\0" in key:
            self._say(mark, "a key holds the character NUL")
        if key in parent.value and not parent.is_merge and not self.compat:
            line, column = parent.places[key][0]
            self._say(
                mark,
                f"found duplicate key {key!r}; the first is at {line + 1}:{column + 1}",
            )

    def _put(self, value: Any, place: Place) -> None:
        """Put a finished value where it belongs."""
        if not self._open:
            self.data, self.places = value, place
            return
        parent = self._open[-1]
        if type(parent.value) is list:
            parent.value.append(value)
            parent.places.append(place)
            return
        key, parent.key = parent.key, None
        assert key is not None
        if parent.is_merge:
            self._merge(parent, value, place)
        else:
            parent.value[key] = value
            parent.places[key] = (parent.key_mark, place)

    def _merge(self, parent: _Open, value: Any, place: Place) -> None:
        values, places = ([value], [place]) if type(value) is dict else (value, place[2])
        if type(values) is not list or not all(type(one) is dict for one in values):
            self._say(parent.key_mark, "'<<' merges a mapping, or a list of mappings")
            return
        parent.merged += [(one, at[2]) for one, at in zip(values, places, strict=True)]  # type: ignore[arg-type] # places are parallel to values

    def _value(self, event: Any, mark: Mark) -> Any:
        """Return the value of a scalar by the core schema."""
        text: str = event.value
        tag = event.tag
        if tag is None or tag == "!":
            is_plain = not event.style and tag is None
        elif tag in {f"{_TAG}{name}" for name in ("str", "int", "float", "bool", "null")}:
            is_plain = tag != f"{_TAG}str"
        else:
            self._say(mark, f"the tag {_shown(tag)} is not supported; delete it")
            return None
        if not is_plain:
            return self._text(text, mark)
        if text in self._words:
            return self._words[text]
        if text[0] in "0123456789+-.":
            if _INTEGER.fullmatch(text):
                return self._integer(text, mark)
            if _FLOAT.fullmatch(text):
                return self._float(text, mark)
        return self._text(text, mark)

    def _text(self, text: str, mark: Mark) -> str | None:
        why = flaw_of_text(text) or ("holds the character NUL" if "\0" in text else None)
        if why:
            self._say(mark, f"the text {why}")
        return None if why else text

    def _integer(self, text: str, mark: Mark) -> int | None:
        if len(text) > _MOST_DIGITS:
            self._say(mark, f"the number has more than {_MOST_DIGITS:,} digits")
            return None
        return int(text, 0)

    def _float(self, text: str, mark: Mark) -> float | None:
        value = math.nan if text[-1].isalpha() else float(text)
        if not math.isfinite(value):
            self._say(mark, f"the number {text[:40]} cannot be written in JSON; use a text")
            return None
        return value


def _events(text: str) -> Iterator[Any]:
    """Yield the events of a text one by one."""
    try:
        import yaml  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        hint = 'pip install "flowq[playbooks]"'
        raise InvalidInput(f"playbooks cannot be read here: {error}", hint=hint) from None
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        mark = (at.line, at.column) if at else (0, 0)
        context = f" ({error.context})" if error.context else ""
        raise _Stop(mark, f"Invalid YAML: {error.problem}{context}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        first = str(error).partition("\n")[0]
        raise _Stop((0, 0), f"Invalid YAML: {first}") from None


def _mark(event: Any) -> Mark:
    at = event.start_mark
    return at.line, at.column


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_TAG)}" if tag.startswith(_TAG) else tag


class _Measures:
    """The sizes of data: values, characters, levels. Each container is looked at once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[Any, tuple[int, int, int]]] = {}

    def of(self, value: Any) -> tuple[int, int, int]:
        """Return the values, the characters and the levels of some data, aliases followed."""
        if isinstance(value, str):
            return 1, len(value), 0
        if not isinstance(value, dict | list):
            return 1, 0, 0
        if id(value) not in self._known:
            # The value is kept, so that no other one can get its id.
            self._known[id(value)] = value, self._of_parts(value)
        return self._known[id(value)][1]

    def _of_parts(self, value: Any) -> tuple[int, int, int]:
        keys = list(value) if isinstance(value, dict) else []
        parts = [self.of(one) for one in (value.values() if keys else value)]
        nodes = 1 + len(keys) + sum(part[0] for part in parts)
        characters = sum(map(len, keys)) + sum(part[1] for part in parts)
        return nodes, characters, 1 + max((part[2] for part in parts), default=0)
