"""What a command needs before it can work: settings, a Redis that answers, a migrated database.

What is flowq's own is made ready without a word: the embedded Valkey is started, a SQLite file in
`.flowq` is migrated. What is the user's own is looked at and never changed.
"""

import fcntl
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from urllib.parse import urlsplit

from redis import Redis, RedisError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from flowq import bootstrap
from flowq.adapters.records import revisions
from flowq.core.errors import DatabaseNotMigrated, DatabaseUnavailable, RedisUnavailable
from flowq.core.hidden import shown, without_secrets
from flowq.settings import Settings

#: Of an address of a database, these parts say where it is and nothing secret.
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
    """Make ready what is flowq's own and check what is the user's.

    Raises:
        Unavailable: Redis or the database cannot be used; says what to do.
    """
    start_redis()
    prepare_database()


def start_redis() -> str:
    """Return when Redis answers; starts the embedded one.

    Returns:
        `started`, `adopted`, or `answers` for a Redis of the user's own.

    Raises:
        RedisUnavailable: it does not answer.
    """
    settings()
    own = bootstrap.embedded()
    if own is not None:
        return own.use()
    with redis_client() as client:
        ping(client)
    return "answers"


def redis_client() -> Redis:
    """Return a client that gives up soon, for those who wait at a terminal.

    Raises:
        InvalidSetting: there is no Redis that it could be a client of.
    """
    return bootstrap.redis_client()


def ping(client: Redis) -> None:
    """Return when Redis answers.

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
    return relative(own.socket) if own else str(bootstrap.redis_address())


def prepare_database() -> None:
    """Migrate flowq's own SQLite file; of another database, check that it is migrated.

    Raises:
        DatabaseUnavailable: it cannot be reached.
        DatabaseNotMigrated: it is behind.
        DatabaseTooNew: it is ahead.
    """
    url = settings().database_url
    if not owns_database():
        revisions.check(url)
        return
    home = make_home()
    with (home / "migrate.lock").open("w") as lock:
        # A worker and a run that are started together must not both create the tables.
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            revisions.check(url)
        except DatabaseNotMigrated:
            from flowq.adapters.records import migrations  # noqa: PLC0415 - loads Alembic, once

            migrations.upgrade(url)


def make_home() -> Path:
    """Return flowq's own folder, made if need be, and kept out of version control."""
    home = settings().home
    home.mkdir(parents=True, exist_ok=True)
    ignored = home / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n", encoding="ascii")
    return home


def owns_database() -> bool:
    """Tell whether the database is a SQLite file in flowq's own folder."""
    file = database_file()
    return file is not None and file.resolve().is_relative_to(settings().home)


def database_file() -> Path | None:
    """Return the file of a SQLite database."""
    url = _database_url()
    sqlite = url.get_backend_name() == "sqlite" and url.database not in {None, "", ":memory:"}
    return Path(str(url.database)) if sqlite else None


def database_place() -> str:
    """Return where the database is, without secrets."""
    file = database_file()
    if file is not None:
        return relative(file)
    url = _database_url()
    places = {name: value for name, value in url.query.items() if name in _PLACES}
    return url.set(query=places, password=None).render_as_string()


def _database_url() -> URL:
    url = settings().database_url
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise DatabaseUnavailable(
            "FLOWQ_DATABASE_URL cannot be read as an address",
            hint="e.g. postgresql+psycopg://user@host/name, or sqlite:////path/to/file.db",
        ) from None


def results_place() -> str:
    """Return where large results are, without secrets."""
    url = settings().results_url
    parts = urlsplit(url)
    return relative(Path(parts.path)) if parts.scheme == "file" else shown(url)


def relative(path: Path) -> str:
    """Return a path as it is seen from here, when it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
