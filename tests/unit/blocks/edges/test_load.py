"""The edge `load`: files below one folder and nowhere else; text and data of blocks."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flowq.blocks.edges import load
from flowq.blocks.errors import EdgeFailed


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "files"
    root.mkdir()
    settings = SimpleNamespace(blocks_files=root)
    monkeypatch.setattr(load, "current_settings", lambda: settings)
    return root


def files(*paths: str, **more: Any) -> dict[str, Any]:
    return {"extra_configs": {"file_configs": [{"file_path": path, **more} for path in paths]}}


def test_files_are_read_by_their_type(folder: Path) -> None:
    (folder / "a.json").write_text('{"a": [1]}')
    (folder / "b.csv").write_text("name,age\nAda,36\n")
    (folder / "c.md").write_text("# é", encoding="utf-8")
    assert load.load_file(files("a.json"), {}) == {"a": [1]}
    assert load.load_file(files("b.csv"), {}) == [{"name": "Ada", "age": "36"}]
    assert load.load_file(files("c.md", "a.json"), {}) == ["# é", {"a": [1]}]
    assert load.load_file(files("a.json", file_type="txt"), {}) == '{"a": [1]}'


@pytest.mark.parametrize(
    "path", ["../secret.txt", "/etc/passwd", "link.txt", "none.txt", "dir.txt", "nul\0.txt"]
)
def test_nothing_outside_of_the_folder_is_read(folder: Path, path: str) -> None:
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "link.txt").symlink_to(folder.parent / "secret.txt")
    (folder / "dir.txt").mkdir()
    with pytest.raises(EdgeFailed) as refusal:
        load.load_file(files(path), {})
    assert "secret" not in refusal.value.message.replace("../secret.txt", "")


@pytest.mark.parametrize("content, why", [(b"\xff\xfe\x00", "not UTF-8"), (b"{", "not JSON")])
def test_files_that_cannot_be_read(folder: Path, content: bytes, why: str) -> None:
    (folder / "a.json").write_bytes(content)
    with pytest.raises(EdgeFailed, match=why):
        load.load_file(files("a.json"), {})


def test_without_a_folder_no_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "current_settings", lambda: SimpleNamespace(blocks_files=None))
    with pytest.raises(EdgeFailed, match="workers may read no files"):
        load.load_file(files("a.json"), {})


@pytest.mark.parametrize(
    "settings, path",
    [
        ({}, ("extra_configs", "file_configs")),
        (files(), ("extra_configs", "file_configs")),
        (
            {"extra_configs": {"file_configs": [{}]}},
            ("extra_configs", "file_configs", 0, "file_path"),
        ),
        (files("a.pdf"), ("extra_configs", "file_configs", 0, "file_type")),
    ],
)
def test_settings_are_checked_beforehand(settings: Any, path: Any) -> None:
    assert [flaw.place for flaw in load.check_file(settings)] == [path]


def test_text_and_data_of_blocks() -> None:
    assert load.load_text({}, {"x": [1]}) == "[1]"
    assert load.load_structured({}, {"x": "{'a': 1}"}) == {"a": 1}
    assert load.load_structured({}, {"x": [1]}) == [1]
    with pytest.raises(EdgeFailed):
        load.load_structured({}, {"x": "plain"})
