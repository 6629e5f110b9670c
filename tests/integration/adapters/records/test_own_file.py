"""flowq makes and migrates its own SQLite file; a file that a user names it leaves alone."""

import sqlite3
from pathlib import Path

import pytest

from flowq.adapters.records.migrations import migrate, own_file, revisions
from flowq.adapters.records.sql.tables import REVISION
from flowq.core.errors import DatabaseTooNew, DatabaseUnavailable


def test_it_is_made_once_with_its_folder(tmp_path: Path) -> None:
    home = tmp_path / "deep" / ".flowq"
    url = f"sqlite:///{home}/flowq.db"
    assert own_file.prepare(url, home)
    assert revisions.current(url) == REVISION
    assert (home / ".gitignore").read_text() == "*\n"
    assert not own_file.prepare(url, home)


def test_it_is_migrated_when_it_is_older(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flowq.db"
    migrate.upgrade(url, "0020")
    assert not own_file.prepare(url, tmp_path)
    assert revisions.current(url) == REVISION


def test_a_newer_one_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/flowq.db"
    migrate.upgrade(url)
    with sqlite3.connect(tmp_path / "flowq.db") as file:
        file.execute("UPDATE flowq_alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseTooNew):
        own_file.prepare(url, tmp_path)


def test_a_file_elsewhere_is_not_touched(tmp_path: Path) -> None:
    home = tmp_path / ".flowq"
    assert not own_file.prepare(f"sqlite:///{tmp_path}/mine.db", home)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    home = tmp_path / "file" / ".flowq"
    with pytest.raises(DatabaseUnavailable, match="cannot be used") as caught:
        own_file.prepare(f"sqlite:///{home}/flowq.db", home)
    assert "FLOWQ_HOME" in str(caught.value.hint)
