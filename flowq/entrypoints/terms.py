"""Parses the terms of a search: `metadata.customer=acme error=KeyError late`. Pure.

A term is a word, `=`, and a value, which is in quotes if it has a space. The other words are the
text that is searched. The command line reads the same terms.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from flowq.engine.queries.lists import RunFilter

_TERM: Final = re.compile(
    r"""(?:^|(?<=\s))(?P<name>[a-z]+)(?:\.(?P<key>[\w-]+))?=(?:"(?P<quoted>[^"]*)"|(?P<plain>\S*))"""
)
#: From the word of a term to the field of the filter.
_FIELDS: Final[Mapping[str, str]] = {"error": "error_type", "step": "step", "user": "user_part"}
_ENTRIES: Final = ("metadata", "inputs")
_HIDDEN: Final = "hidden, so it cannot be searched: FLOWQ_SHOW_CONTENT=1 shows contents."


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a search.

    Attributes:
        problem: What is wrong with them; None if they are right.
    """

    text: str
    fields: Mapping[str, Any]
    problem: str | None = None

    def added_to(self, wanted: RunFilter) -> RunFilter:
        """Return a filter with these terms in addition."""
        return replace(wanted, text=self.text or None, **self.fields)


def parse_terms(text: str, *, shows_content: bool = True, labels: Collection[str] = ()) -> Terms:
    """Parse a search.

    Args:
        text: What somebody has typed.
        shows_content: Whether contents may be searched: who may not see them must not guess them.
        labels: Keys of metadata that are shown, and so may be searched, all the same.
    """
    fields: dict[str, Any] = {}
    entries: dict[str, list[tuple[str, str]]] = {name: [] for name in _ENTRIES}
    problem = None
    for term in _TERM.finditer(text):
        name, key = term["name"], term["key"]
        value = term["plain"] if term["quoted"] is None else term["quoted"]
        if name in _FIELDS and key is None:
            fields[_FIELDS[name]] = value
        elif name in _ENTRIES and key is not None:
            entries[name].append((key, value))
        else:
            return Terms(text, {}, _unknown(term[0]))
        if not value:
            problem = f"“{term[0]}” has no value: write {term[0]}something."
    if not shows_content:
        hidden = [key for key, _ in entries["metadata"] if key not in labels]
        if entries["inputs"]:
            problem = f"The value of inputs is {_HIDDEN}"
        elif hidden:
            problem = f"Metadata is {_HIDDEN} FLOWQ_COST_LABELS={hidden[0]} shows this key alone."
    rest = " ".join(_TERM.sub(" ", text).split())
    found = {**fields, **{name: tuple(pairs) for name, pairs in entries.items()}}
    return Terms(rest, found, problem)


def _unknown(term: str) -> str:
    return (
        f"“{term}” is not a term of a search. Terms are: metadata.KEY=VALUE, inputs.KEY=VALUE, "
        "error=CLASS, step=KEY, user=TEXT."
    )
