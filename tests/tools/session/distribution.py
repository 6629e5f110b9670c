"""How the tests are dealt out to processes: those that wait beside those that compute.

Tests float, one by one, to whichever process is free. Those that share a fixture of their module
stay together, for each of its parameters; so do the many short ones of a file.

Tests of whole programs mostly wait for other processes, all others keep a core busy. So the two are
mixed, in proportion to their numbers: then neither a core nor a waiting test waits for the other.
Programs get a start, since the last of them should not be waited for alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

#: Kinds whose tests mostly wait: each is long enough to be dealt out by itself.
WAITING: Final = ("acceptance", "chaos")
#: Kinds whose tests compute, those first whose tests take longest.
COMPUTING: Final = ("integration", "contract", "unit")
#: Share of the session after which the last test that waits has begun.
_HEAD_START: Final = 0.85
_SHARED: Final = {"module", "class", "package"}


def order(items: list[pytest.Item], root: Path, *, mixed: bool) -> None:
    """Put tests in the order in which they are to begin.

    Args:
        items: The tests; their order is changed.
        root: The folder of all tests.
        mixed: Whether several processes run them. One process runs them by kind: it would make what
            the tests of a module share anew whenever it comes back to that module.
    """
    places = {kind: place for place, kind in enumerate((*WAITING, *COMPUTING))}
    kinds = {module: name.parts[0] for module, name in _names(items, root).items()}
    items.sort(key=lambda item: (not _is_slow(item), places.get(kinds[item.path], len(places))))
    if mixed:
        _mix(items, kinds)


def grouped(items: list[pytest.Item], root: Path) -> list[list[int]]:
    """Return the places of the tests that stay together; the groups begin in the tests' order."""
    names = _names(items, root)
    groups: dict[str | int, list[int]] = {}
    for place, item in enumerate(items):
        name = names[item.path]
        groups.setdefault(_group(item, name, name.parts[0]) or place, []).append(place)
    return list(groups.values())


def _names(items: list[pytest.Item], root: Path) -> dict[Path, Path]:
    return {module: module.relative_to(root) for module in {item.path for item in items}}


def _mix(items: list[pytest.Item], kinds: Mapping[Path, str]) -> None:
    waiting = [item for item in items if kinds[item.path] in WAITING]
    computing = [item for item in items if kinds[item.path] not in WAITING]
    begins = {item: _HEAD_START * place / len(waiting) for place, item in enumerate(waiting)}
    begins |= {item: place / len(computing) for place, item in enumerate(computing)}
    items.sort(key=begins.__getitem__)


def _is_slow(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None


def _group(item: pytest.Item, name: Path, kind: str) -> str | None:
    """Return the name of those that a test stays with; None when it may run anywhere."""
    assert isinstance(item, pytest.Function)
    fixtures = item._fixtureinfo.name2fixturedefs
    shared = {name for name, found in fixtures.items() if _SHARED & {each.scope for each in found}}
    module = str(name)
    if shared:
        given = item.callspec.indices if hasattr(item, "callspec") else {}
        numbers = [f"{name}={given[name]}" for name in sorted(shared & given.keys())]
        return " ".join([module, *numbers])
    return None if kind in WAITING or _is_slow(item) else module
