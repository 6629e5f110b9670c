"""How xdist deals the tests out: the longest first, those that share a fixture together.

Tests float, one by one, to whichever process is free. Those that share a fixture of their module
stay together, for each of its parameters; so do the many short ones of a file.
"""

from pathlib import Path
from typing import Final

import pytest

#: Kinds of tests, those first whose tests take longest.
KINDS: Final = ("acceptance", "chaos", "integration", "contract", "unit")
#: Kinds whose tests take long enough to be dealt out one by one.
_FLOATING: Final = {"acceptance", "chaos"}
_SHARED: Final = {"module", "class", "package"}


def deal(items: list[pytest.Item], root: Path) -> None:
    """Put tests in the order in which they are to begin, and mark those that stay together."""
    items.sort(key=lambda item: _rank(item, root))
    for item in items:
        if (group := _group(item, root)) is not None:
            item.add_marker(pytest.mark.xdist_group(group))


def _kind(item: pytest.Item, root: Path) -> str:
    return item.path.relative_to(root).parts[0]


def _rank(item: pytest.Item, root: Path) -> tuple[bool, int]:
    kind = _kind(item, root)
    place = KINDS.index(kind) if kind in KINDS else len(KINDS)
    return item.get_closest_marker("slow") is None, place


def _group(item: pytest.Item, root: Path) -> str | None:
    """Return the name of those that a test stays with; None when it may run anywhere."""
    assert isinstance(item, pytest.Function)
    fixtures = item._fixtureinfo.name2fixturedefs
    shared = {name for name, found in fixtures.items() if _SHARED & {each.scope for each in found}}
    module = str(item.path.relative_to(root))
    if shared:
        given = item.callspec.indices if hasattr(item, "callspec") else {}
        numbers = [f"{name}={given[name]}" for name in sorted(shared & given.keys())]
        return " ".join([module, *numbers])
    floats = _kind(item, root) in _FLOATING or item.get_closest_marker("slow") is not None
    return None if floats else module
