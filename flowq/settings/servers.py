"""Where flowq keeps its data: folder, Redis, database, object store."""

import re
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from flowq.core.addresses.amqp import is_amqp, read_amqp
from flowq.core.addresses.redis import read_redis
from flowq.core.errors import InvalidSetting


class ServerSettings(BaseSettings):
    """What flowq connects to."""

    home: Path = Field(
        Path(".flowq"), description="Folder of the embedded Valkey, SQLite and results."
    )
    app: str | None = Field(
        None,
        description="For the command line: the module of the Celery app whose queues steps go to, "
        "as `celery -A` takes it. `flowq --app` overrides it.",
    )
    redis_url: str | None = Field(
        None,
        description="Small results, events and chords, and the broker unless FLOWQ_BROKER_URL "
        "names another one: `redis://…`, `rediss://…`, `unix:///…` or `sentinel://…`. None: the "
        "embedded Valkey.",
    )
    broker_url: str | None = Field(
        None,
        description="Broker, where that is not the Redis of FLOWQ_REDIS_URL: `amqp://…`, "
        "`amqps://…`, or a Redis. With AMQP and without FLOWQ_REDIS_URL no Redis is used.",
    )
    redis_prefix: str = Field(
        "",
        max_length=100,
        description="Prefix of the names of all keys and channels in Redis, so that several "
        "installations share one server; `:` is added where it ends with a letter or a number.",
    )
    database_url: str = Field(
        "",
        validate_default=True,
        description="`postgresql+psycopg://…` or `sqlite:///…`. Default: a SQLite file in `home`.",
    )
    results_url: str = Field(
        "",
        validate_default=True,
        description="Large results: `file:///…`, `memory://`, `s3://bucket/prefix`, `gs://…`, "
        "`az://…`. Default: a folder in `home`.",
    )
    database_pool_size: int = Field(
        10, gt=0, description="Maximum number of database connections of one process."
    )
    database_timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time after which a statement or transaction of flowq is given up, if the "
        "database does not answer. Not on SQLite.",
    )
    redis_pool_size: int = Field(
        50,
        gt=0,
        description="Maximum number of Redis connections of one process; further callers wait.",
    )

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().resolve()
        except (RuntimeError, OSError):
            raise InvalidSetting("names a folder that cannot be") from None

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if url is None or not url.strip():
            return None
        read_redis(url)
        return url.strip()

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, url: str | None) -> str | None:
        if url is None or not url.strip():
            return None
        if is_amqp(url):
            read_amqp(url)
        else:
            read_redis(url, "FLOWQ_BROKER_URL")
        return url.strip()

    @field_validator("redis_prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9:_.{}-]*", prefix):
            raise InvalidSetting("may have letters, digits and : _ . - { } in it")
        # As Celery's result backend ends a prefix.
        return f"{prefix}:" if prefix and prefix[-1] not in ":_-." else prefix

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: str, info: object) -> str:
        home: Path = info.data.get("home", Path())  # type: ignore[attr-defined]
        url = url.strip() or f"sqlite:///{home / 'flowq.db'}"
        hint = "e.g. postgresql+psycopg://user@host/name, or sqlite:////path/to/file.db"
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):
            raise InvalidSetting("cannot be read as an address", hint=hint) from None
        if "@" in (parts.host or ""):
            raise InvalidSetting(
                "has a user or password that is not percent-encoded",
                hint="/ is %2F, @ is %40, : is %3A",
            )
        return url

    @field_validator("results_url")
    @classmethod
    def _results(cls, url: str, info: object) -> str:
        home: Path = info.data.get("home", Path())  # type: ignore[attr-defined]
        return url.strip() or (home / "results").as_uri()
