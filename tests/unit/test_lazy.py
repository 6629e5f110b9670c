"""Public names that are imported at first use."""

import colorsys
import sys
from types import ModuleType

import pytest

from flowq import blocks, playbooks, workflows
from flowq.lazy import public_names


@pytest.mark.parametrize("package", [blocks, playbooks, workflows])
def test_every_public_name_has_a_home(package: ModuleType) -> None:
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'flowq\.blocks' has no attribute 'Blok'"):
        _ = blocks.Blok


def test_module_is_imported_when_its_name_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("lazily")
    monkeypatch.setitem(sys.modules, "lazily", package)
    get, names = public_names("lazily", {"colorsys": "hsv_to_rgb", "no_such_module": "this that"})

    assert {"hsv_to_rgb", "this", "that"} <= set(names())
    assert get("hsv_to_rgb") is colorsys.hsv_to_rgb
    assert package.hsv_to_rgb is colorsys.hsv_to_rgb
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        get("that")
