"""Files travel by content, under their name; copies end with the attempt."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from flowq.engine.results.codecs import decode, encode, files, local_files
from tests.tools.session.processes import run


def loaded(path: Path, annotation: Any = Path) -> Path:
    encoded = encode(path, annotation)
    assert isinstance(encoded.data, Path)
    copy = decode(encoded.codec, encoded.data.read_bytes(), media_type=encoded.media_type)
    assert isinstance(copy, Path)
    return copy


@pytest.mark.parametrize("name", ["facts.csv", "naïve name.tar.gz", 'a";b', "noextension"])
def test_a_reader_gets_a_copy_under_the_same_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"1,2\r\n")
    with local_files():
        copy = loaded(path, Any)
        assert (name, b"1,2\r\n") == (copy.name, copy.read_bytes())
        assert copy != path


def test_a_file_is_not_read_when_it_is_encoded(tmp_path: Path) -> None:
    path = tmp_path / "facts.csv"
    path.write_bytes(b"12345")
    encoded = encode(path)
    assert ("file", path, 5) == (encoded.codec, encoded.data, encoded.size)
    assert 'text/csv; name="facts.csv"' == encoded.media_type


def test_copies_end_with_the_attempt(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    with local_files():
        copy = loaded(path)
        assert copy == loaded(path), "the same content lies at the same place"
    assert not copy.exists()


def test_one_attempt_does_not_see_what_another_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    with local_files():
        loaded(path).write_text("changed")
        with local_files():
            assert "x" == loaded(path).read_text()


def test_a_name_cannot_lead_out_of_the_folder() -> None:
    with local_files():
        for media in ('a/b; name="..%2F..%2Fetc"', 'a/b; name=".."', "a/b", 'a/b; name="%2F"'):
            copy = decode("file", b"x", media_type=media)
            assert "flowq-" in copy.parts[-4]
            assert copy.name in {"etc", "file"}


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    def parts() -> Any:
        yield b"x"
        raise OSError("gone")

    with local_files():
        with pytest.raises(OSError, match="gone"):
            files.keep(parts(), "text/plain", "00ff")
        whole = files.keep([b"y"], "text/plain", "00ff")
        assert [whole] == list(whole.parent.iterdir())


def test_copies_of_a_process_end_with_it_also_when_it_was_killed(tmp_path: Path) -> None:
    """At its exit a process removes its folder; the next one removes that of a killed one."""
    code = (
        "import os, sys; from flowq.engine.results.codecs import decode;"
        "decode('file', b'x', media_type=''); print(os.listdir(os.environ['TMPDIR']));"
        "sys.stdout.flush(); os._exit(9) if sys.argv[1] == 'killed' else None"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for end in ("killed", "ended"):
        done = run([sys.executable, "-c", code, end], env=environment)
        assert 1 == done.stdout.count("flowq-"), done.stderr
    assert [] == list(tmp_path.iterdir())


def test_a_path_to_no_file_stays_a_path(tmp_path: Path) -> None:
    assert "json" == encode(tmp_path).codec
    assert "json" == encode(tmp_path / "none").codec
