"""What `flowq doctor` sees of a database: whether it takes writes, and what lies before it."""

import os
import resource
import shutil
import subprocess
import sys
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import make_url

from flowq.adapters.records.connections.probe import probe
from flowq.adapters.records.migrations import migrate
from flowq.core.errors import DatabaseUnavailable
from tests.tools import servers

LOOK = """
import sys
from flowq.adapters.records.connections.probe import probe
from flowq.core.errors import DatabaseUnavailable
try:
    print(probe(sys.argv[1], tables=True))
except DatabaseUnavailable as error:
    print("away:", error)
"""


def test_database_that_works_is_left_as_it_was(database_url: str) -> None:
    for _ in range(2):
        found = probe(database_url, tables=True)
        assert found.version
        assert found.pooler is None


@pytest.mark.parametrize("mode", ["transaction", "session"])
def test_mode_of_a_pooler_is_seen(postgres_url: str, mode: str) -> None:
    with servers.pgbouncer(make_url(postgres_url), pool_mode=mode) as pooler:
        found = probe(pooler.render_as_string(hide_password=False), tables=True)
    assert found.pooler == mode


def test_database_that_takes_no_writes_is_away(postgres_url: str) -> None:
    url = make_url(postgres_url)
    command = "ALTER DATABASE {} SET default_transaction_read_only = on"
    servers.administer(url.set(database="postgres"), command, str(url.database))
    with pytest.raises(DatabaseUnavailable, match="does not accept writes"):
        probe(postgres_url, tables=True)


def test_missing_rights_of_a_role_are_reported(postgres_url: str) -> None:
    servers.administer(make_url(postgres_url), "CREATE ROLE {} LOGIN", "flowq_reader")
    try:
        reader = make_url(postgres_url).set(username="flowq_reader")
        with pytest.raises(DatabaseUnavailable, match="permission denied") as refused:
            probe(reader.render_as_string(hide_password=False), tables=True)
        assert "GRANT" in str(refused.value).upper()
    finally:
        servers.administer(make_url(postgres_url), "DROP ROLE {}", "flowq_reader")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_database_that_cannot_keep_every_text_is_refused(postgres_url: str, encoding: str) -> None:
    url = make_url(postgres_url)
    name = f"flowq_{encoding.lower()}"
    conninfo = url.set(drivername="postgresql", database="postgres")
    with psycopg.connect(conninfo.render_as_string(hide_password=False), autocommit=True) as one:
        one.execute(
            sql.SQL(
                "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
            ).format(sql.Identifier(name), sql.Literal(encoding))
        )
    try:
        there = url.set(database=name).render_as_string(hide_password=False)
        for use in (migrate.upgrade, lambda url: probe(url, tables=False)):
            with pytest.raises(DatabaseUnavailable, match=encoding) as refused:
                use(there)
            assert "UTF8" in str(refused.value)
    finally:
        servers.administer(url, "DROP DATABASE {} WITH (FORCE)", name)


def test_sqlite_without_room_says_so(sqlite_url: str) -> None:
    """A limit on the size of files stands for a disk that is full."""

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    command = [sys.executable, "-c", LOOK, sqlite_url]
    seen = subprocess.run(
        command, capture_output=True, encoding="utf-8", preexec_fn=no_room, check=False
    )
    assert seen.stdout.startswith("away:"), seen


def _look_as_nobody(url: str, answers: "Queue[str]") -> None:
    if os.geteuid() == 0:  # who may write everywhere
        os.setgid(servers.NOBODY)
        os.setuid(servers.NOBODY)
    try:
        answers.put(str(probe(url, tables=True)))
    except DatabaseUnavailable as error:
        answers.put(f"away: {error}")


@pytest.mark.parametrize("of", ["file", "folder"])
def test_sqlite_that_may_not_be_written_says_so(sqlite_template: Path, of: str) -> None:
    with TemporaryDirectory() as name:
        folder, file = Path(name), Path(name, "flowq.db")
        shutil.copy(sqlite_template, file)
        file.chmod(0o444 if of == "file" else 0o666)
        folder.chmod(0o777 if of == "file" else 0o555)
        processes = get_context("fork")  # nobody can load the modules of this one anew
        answers: Queue[str] = processes.Queue()
        looking = processes.Process(target=_look_as_nobody, args=(f"sqlite:///{file}", answers))
        looking.start()
        seen = answers.get(timeout=60)
        looking.join(60)

    assert seen.startswith("away:"), seen
    assert name in seen
