"""What a command needs before it can work: settings, servers that answer, a migrated database.

flowq prepares its own services: it starts the embedded Valkey and migrates a SQLite file in
`.flowq`. It prints the path of a new file, since that may be in the wrong folder. It only checks
the user's own services and never changes them.
"""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis, RedisError

from flowq import bootstrap
from flowq.adapters.records.connections.engine import read_url
from flowq.adapters.records.connections.identity import sqlite_file
from flowq.adapters.records.migrations import own_file, revisions
from flowq.core.errors import RedisUnavailable
from flowq.core.text.masking import masked, without_secrets
from flowq.entrypoints.cli.display.console import note
from flowq.settings import Settings

#: The parts of a database URL that say where it is and are not secret.
_PLACES = ("host", "port", "service")


def version() -> str:
    """Return the version of flowq."""
    try:
        return installed_version("flowq")
    except PackageNotFoundError:
        return "(not installed)"


def settings() -> Settings:
    """Return the settings.

    Raises:
        InvalidSetting: a variable has a value that it cannot have.
    """
    return bootstrap.settings()


def prepare() -> None:
    """Prepare flowq's own services and check those of the user.

    Raises:
        Unavailable: Redis or the database cannot be used; the hint says what to do.
    """
    start_redis()
    prepare_database()


def start_redis() -> str:
    """Start the embedded Redis if it is used, and wait until Redis answers.

    Returns:
        `started`, `adopted`, `answers` for a Redis of the user's own, or `unused`.

    Raises:
        RedisUnavailable: it does not answer.
    """
    settings()
    own = bootstrap.embedded()
    if own is not None:
        return own.use()
    if bootstrap.redis_address() is None:
        return "unused"
    with bootstrap.redis_client() as client:
        ping(client)
    return "answers"


def ping(client: Redis) -> None:
    """Check that Redis answers.

    Raises:
        RedisUnavailable: it does not.
    """
    try:
        client.ping()
    except (RedisError, OSError) as error:
        raise RedisUnavailable(
            f"Redis at {redis_place()} cannot be used: {without_secrets(str(error))}",
            hint=f"check {bootstrap.redis_source()} and that Redis runs",
        ) from error


def redis_place() -> str:
    """Return where Redis is, without secrets."""
    own = bootstrap.embedded()
    if own is not None:
        return relative(own.socket)
    return str(bootstrap.redis_address() or "none; results and events are in the database")


def prepare_database() -> None:
    """Migrate flowq's own SQLite file; of another database, check that it is migrated.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseNotMigrated: it is behind.
        DatabaseTooNew: it is ahead.
    """
    chosen = settings()
    if not owns_database():
        revisions.check(chosen.database_url)
    elif own_file.prepare(chosen.database_url, chosen.home):
        note(f"made a new database: {database_place()}")


def owns_database() -> bool:
    """Return whether the database is a SQLite file in flowq's own folder."""
    return own_file.owns(settings().database_url, settings().home)


def database_file() -> Path | None:
    """Return the file of a SQLite database."""
    return sqlite_file(read_url(settings().database_url))


def database_place() -> str:
    """Return where the database is, without secrets; of a file, the absolute path."""
    url = read_url(settings().database_url)
    file = sqlite_file(url)
    if file is not None:
        return str(file)
    places = {name: value for name, value in url.query.items() if name in _PLACES}
    return url.set(query=places, password=None).render_as_string()


def results_place() -> str:
    """Return where large results are, without secrets."""
    url = settings().results_url
    parts = urlsplit(url)
    return relative(Path(parts.path)) if parts.scheme == "file" else masked(url)


def relative(path: Path) -> str:
    """Return a path relative to the current folder, if it is inside it."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
