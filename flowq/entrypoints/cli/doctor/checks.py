"""`flowq doctor`: checks everything that flowq depends on, and says what to do.

Each check reports one line and changes nothing. Something that flowq creates at first use may be
missing. The results store is checked last, because a process that has used it must not fork.
"""

import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from importlib.metadata import version as installed_version
from typing import Final

import click
from redis import Redis, RedisError
from redis.exceptions import NoPermissionError
from rich.text import Text

from flowq import bootstrap
from flowq.adapters.dispatch.celery import ADVANCE, SCHEDULE, START
from flowq.adapters.dispatch.inspect_workers import inspect_workers
from flowq.adapters.records.connections.probe import probe
from flowq.adapters.records.migrations import revisions
from flowq.adapters.records.sql.tables import REVISION
from flowq.adapters.results.objects import open_store
from flowq.core.errors import DatabaseNotMigrated, FlowqError
from flowq.engine.ports import Worker
from flowq.engine.waits.explain import PATIENCE, Stuck, stuck
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.app import apps, environment
from flowq.entrypoints.cli.display import console as looks
from flowq.entrypoints.cli.doctor.broker import check_broker, ping_broker
from flowq.entrypoints.cli.doctor.cluster import check_cluster
from flowq.entrypoints.cli.doctor.findings import Finding, Level
from flowq.entrypoints.cli.doctor.partitions import check_partitions
from flowq.entrypoints.http.settings import HttpSettings
from flowq.settings import Settings

_OLDEST: Final = (3, 11)
_MAX_STUCK: Final = 5
_POLICY: Final = "noeviction"
#: Variables that only flowq's own test suite reads.
_TESTS: Final = "FLOWQ_TEST_"


def report(*, as_json: bool) -> bool:
    """Check everything, print the findings; return whether there is no problem."""
    findings = []
    for name, check in CHECKS.items():
        finding = _run(name, check)
        findings.append(finding)
        if not as_json:
            _print(finding)
        if name == "settings" and finding.level is Level.PROBLEM:
            break  # all other checks would report the same
    good = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        looks.print_json({"ok": good, "checks": [asdict(finding) for finding in findings]})
    return good


def _run(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except FlowqError as error:
        return Finding(name, Level.PROBLEM, error.message, error.hint)
    except click.UsageError as error:
        return Finding(name, Level.PROBLEM, error.message, "type: flowq docs settings")
    except Exception as error:  # noqa: BLE001 - a doctor must not fall ill itself
        return Finding(
            name, Level.PROBLEM, f"{type(error).__name__}: {error}", "read the error and correct it"
        )


def _print(finding: Finding) -> None:
    console = looks.out()
    words = (f" {finding.name:<11}", "bold"), finding.text
    sign = looks.mark(finding.level, console)
    console.print(Text.assemble(sign, *words), soft_wrap=True)
    if finding.hint:
        arrow = "→" if looks.unicode(console) else "->"
        console.print(Text(f"  {'':<11}{arrow} {finding.hint}"), soft_wrap=True)


# --- the checks -----------------------------------------------------------------------------------


def _python() -> Finding:
    text = f"{platform.python_version()}, {sys.executable}"
    if sys.version_info < _OLDEST:
        return Finding("Python", Level.PROBLEM, text, "flowq needs Python 3.11 or later")
    return Finding("Python", Level.OK, text)


def _packages() -> Finding:
    names = ("celery", "kombu", "redis", "sqlalchemy", "flower")
    versions = ", ".join(f"{name} {installed_version(name)}" for name in names)
    return Finding("packages", Level.OK, f"flowq {environment.version()}, {versions}")


def _settings() -> Finding:
    environment.settings()
    fields = [*Settings.model_fields, *HttpSettings.model_fields]
    known = {f"FLOWQ_{name.upper()}" for name in fields}
    given = {name for name in os.environ if name.startswith("FLOWQ_")}
    unknown = sorted(name for name in given - known if not name.startswith(_TESTS))
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f"did you mean {near[0]}?" if near else "type: flowq docs settings"
        return Finding(
            "settings", Level.WARNING, f"{', '.join(unknown)}: unknown setting, ignored", hint
        )
    text = ", ".join(sorted(given & known)) or f"all defaults, home is {_home()}"
    return Finding("settings", Level.OK, text)


def _home() -> str:
    return str(environment.settings().home)


def _app() -> Finding:
    app = apps.use_named()
    if app is None:
        return Finding(
            "app",
            Level.OK,
            "none is named; the workers send the steps that a command queues",
            "if your flows use your own Celery app: flowq --app MODULE doctor",
        )
    text = f"{apps.named()}, queue {app.conf.task_default_queue}"
    if app.conf.task_always_eager:
        hint = "unset task_always_eager; flowq.testing runs flows without workers"
        return Finding("app", Level.PROBLEM, f"{text}, in eager mode: no step would run", hint)
    return Finding("app", Level.OK, f"{text}, broker {ping_broker(app)}")


def _redis() -> Finding:
    environment.settings()
    own = bootstrap.embedded()
    if own is not None and own.pid is None:
        program = own.program
        return Finding(
            "Redis", Level.OK, f"embedded, not running; the first worker or run starts {program}"
        )
    if bootstrap.redis_address() is None:
        return Finding(
            "Redis",
            Level.OK,
            "none; small results and events are in the database, and no text is streamed",
        )
    with bootstrap.redis_client() as client:
        environment.ping(client)
        server = _server(client)
        where = f"embedded, pid {own.pid}" if own else f"at {environment.redis_place()}"
        return check_cluster(client, f"{server}, {where}") or _judged(client, f"{server}, {where}")


def _server(client: Redis) -> str:
    try:
        about = client.info("server")
    except NoPermissionError:
        return "Redis"  # its user may not ask
    if "valkey_version" in about:
        return f"Valkey {about['valkey_version']}"
    return f"Redis {about.get('redis_version', 'of unknown version')}"


def _judged(client: Redis, text: str) -> Finding:
    try:
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", _POLICY)
    except RedisError:
        policy = _POLICY  # a managed server that does not tell
    if policy != _POLICY:
        return Finding(
            "Redis",
            Level.WARNING,
            f"{text}; it drops messages when its memory is full (maxmemory-policy {policy})",
            f"set maxmemory-policy {_POLICY} on the server; until then flowq resends lost steps",
        )
    return Finding("Redis", Level.OK, text)


def _database() -> Finding:
    url, place = environment.settings().database_url, environment.database_place()
    file = environment.database_file()
    if file is not None and not file.exists():
        return Finding("database", *_no_file(place))
    # Each says so when it cannot be done.
    found = probe(url, tables=revisions.current(url) == REVISION)
    if file is not None:
        return Finding("database", Level.OK, f"SQLite {found.version}, {place}")
    pooler = f", behind PgBouncer in {found.pooler} mode" if found.pooler else ""
    return Finding("database", Level.OK, f"postgresql {found.version} at {place}{pooler}")


def _no_file(place: str) -> tuple[Level, str, str | None]:
    if environment.owns_database():
        return (
            Level.WARNING,
            f"there is no file {place}, so no runs yet; the first process that uses it makes it",
            "if you expect runs, begin in the folder of your workers, or set FLOWQ_HOME",
        )
    return Level.PROBLEM, f"there is no file {place}", "run: flowq db upgrade"


def _migrations() -> Finding:
    try:
        revisions.check(environment.settings().database_url)
    except DatabaseNotMigrated as error:
        if environment.owns_database():
            return Finding("migrations", Level.WARNING, error.message, error.hint)
        raise
    return Finding("migrations", Level.OK, f"at {REVISION}, the newest")


def _workers() -> Finding:
    environment.settings()
    own = bootstrap.embedded()
    if own is not None and own.pid is None:
        return Finding("workers", Level.WARNING, "none is online", _worker_hint())
    ping_broker(bootstrap.app())
    answers = bootstrap.app().control.ping(timeout=1.0) or []
    names = sorted(name for answer in answers for name in answer)
    if not names:
        return Finding("workers", Level.WARNING, "none is online", _worker_hint())
    text = f"{len(names)} online: {', '.join(names[:5])}"
    old = _older(inspect_workers(bootstrap.app(), PATIENCE))
    if old:
        text += f"; an older flowq, which does not read all messages: {', '.join(old[:5])}"
        return Finding("workers", Level.WARNING, text, "upgrade flowq there: pip install -U flowq")
    return Finding("workers", Level.OK, text)


def _older(workers: Sequence[Worker]) -> list[str]:
    """Return workers whose flowq is older than schedules and priorities, or than requested runs."""
    flowqs = [one for one in workers if ADVANCE in one.tasks]
    return sorted(one.name for one in flowqs if not {SCHEDULE, START} <= set(one.tasks))


def _worker_hint() -> str:
    if bootstrap.knows_app():
        return f"celery -A {apps.named()} worker"
    return "flowq worker FILE; for those of an app of yours: flowq --app MODULE doctor"


def _waiting() -> Finding:
    """Find queued steps that no worker can take."""
    file = environment.database_file()
    if file is not None and not file.exists():
        return Finding("waiting", Level.OK, "no runs yet")
    try:
        if revisions.current(environment.settings().database_url) != REVISION:
            return Finding("waiting", Level.OK, "not checked before the database is migrated")
        found = stuck(bootstrap.engine())
    except FlowqError as error:  # what is wrong is a problem of another check
        return Finding("waiting", Level.WARNING, f"not checked: {error.message}")
    if not found:
        return Finding("waiting", Level.OK, "every queued step has a worker that can take it")
    listed = "; ".join(_stuck(one) for one in found[:_MAX_STUCK])
    if len(found) > _MAX_STUCK:
        listed += f"; and {len(found) - _MAX_STUCK} more"
    return Finding("waiting", Level.WARNING, listed, found[0].what.hint)


def _stuck(one: Stuck) -> str:
    steps = _counted(one.steps, "step")
    since = formatting.ago(one.what.since).removesuffix(" ago")
    return f"{steps} in {_counted(one.runs, 'run')}: {one.what.text}, for {since}"


def _counted(number: int, noun: str) -> str:
    return (
        f"{formatting.count(number)} {noun}"
        if number == 1
        else f"{formatting.count(number)} {noun}s"
    )


def _results() -> Finding:
    open_store(environment.settings().results_url).check()
    return Finding("results", Level.OK, f"{environment.results_place()} is readable and writable")


CHECKS: Final[dict[str, Callable[[], Finding]]] = {
    "Python": _python,
    "packages": _packages,
    "settings": _settings,
    "app": _app,
    "broker": check_broker,
    "Redis": _redis,
    "database": _database,
    "migrations": _migrations,
    "partitions": check_partitions,
    "workers": _workers,
    "waiting": _waiting,
    "results": _results,
}
