"""Public names that are imported at first use."""

import colorsys
import gc
import sys
from pathlib import Path
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


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_looked_for_after_an_import_and_not_meanwhile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, enabled: bool
) -> None:
    """Also when the import fails; and who does not want it is not given it."""
    lines = "import gc\nseen = gc.isenabled()\n"
    (tmp_path / "looks.py").write_text(lines)
    (tmp_path / "fails.py").write_text(f"{lines}raise OSError(seen)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "lazily", ModuleType("lazily"))
    get, _ = public_names("lazily", {"looks": "seen", "fails": "none"})
    (gc.enable if enabled else gc.disable)()
    try:
        assert get("seen") is False
        assert gc.isenabled() is enabled
        with pytest.raises(OSError, match="False"):
            get("none")
        assert gc.isenabled() is enabled
    finally:
        gc.enable()
        sys.modules.pop("looks", None)
