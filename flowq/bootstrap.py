"""The composition root: the only file that names concrete adapters.

It builds one `Engine` per process, at first use and never at import. A forked child builds its own:
connections must not be shared across a fork. What the parent had is kept, unused, because closing a
connection in the child would end it for the parent too.
"""

import atexit
import os
import random
import socket
from dataclasses import replace
from datetime import timedelta
from functools import cache
from threading import Lock
from typing import Any, Final

import uuid_utils.compat as uuids
from celery import Celery
from celery._state import (  # type: ignore[attr-defined]  # the published types lack one
    get_current_worker_task,
    task_join_will_block,
)
from redis import BlockingConnectionPool, ConnectionPool, Redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

from flowq.adapters import faults as injected_faults
from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.dispatch.threads import ThreadDispatcher
from flowq.adapters.embedded import EmbeddedValkey
from flowq.adapters.events.redis import RedisEvents
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.results.objects import open_store
from flowq.adapters.results.redis import RedisCache
from flowq.core.errors import InvalidFlow, RedisUnavailable
from flowq.engine import faults
from flowq.engine.engine import Engine, Policies
from flowq.engine.ports import ObjectStore
from flowq.engine.registry import registry
from flowq.engine.results import Results
from flowq.engine.sweeper import Sweeper
from flowq.settings import Settings

#: Steps that run at once for `execute`; most of them wait for something.
_THREADS: Final = 32


class _Process:
    """What this process has built so far."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.app: Celery | None = None
        self.engine: Engine | None = None
        self.here: tuple[Engine, ThreadDispatcher] | None = None
        self.kept: list[Any] = []


_process = _Process()


def _after_fork() -> None:
    _process.lock = Lock()
    _process.kept += [_process.engine, _process.here]
    _process.engine = _process.here = None


os.register_at_fork(after_in_child=_after_fork)


@cache
def settings() -> Settings:
    """Return the settings of this process, read once."""
    return Settings()


def embedded() -> EmbeddedValkey | None:
    """Return the embedded Valkey, or None when a Redis server is named.

    FLOWQ_REDIS_URL names one; so does the broker of an app that flowq was installed on.
    """
    own = EmbeddedValkey(settings().home)
    return own if _named_redis() in (None, own.url) else None


def broker_url() -> str:
    """Return the URL of Redis in Celery's form."""
    return _named_redis() or EmbeddedValkey(settings().home).url


def _named_redis() -> str | None:
    if settings().redis_url:
        return settings().redis_url
    return _process.app.conf.broker_url if _process.app is not None else None


def redis_client() -> Redis:
    """Return a client for Redis with a bounded pool whose callers wait instead of failing.

    None of its commands holds a step for more than a few seconds, also when a connection is dead
    and nobody has said so: a command is not sent twice after a timeout.

    Raises:
        RedisUnavailable: the app's broker is something else, and FLOWQ_REDIS_URL names no Redis.
    """
    url = broker_url()
    if url.startswith("redis+socket://"):
        url = "unix://" + url.removeprefix("redis+socket://")
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise RedisUnavailable(
            "small results are kept in Redis, and the app's broker, "
            f"{url.partition(':')[0]}, is none",
            hint="set FLOWQ_REDIS_URL to a Redis server",
        )
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=settings().redis_pool_size,
        timeout=5,
        socket_connect_timeout=3,
        socket_timeout=3,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.05), 2, (RedisConnectionError,)),
        health_check_interval=10,
    )
    return Redis(connection_pool=pool)


def use_app(app: Celery) -> None:
    """Send through this Celery app from now on; the newest one counts."""
    with _process.lock:
        if _process.app is not app:
            _process.app = app
            _process.engine = _process.here = None


def app() -> Celery:
    """Return the Celery app of this process; one is made when the user has installed none."""
    with _process.lock:
        if _process.app is None:
            _process.app = make_app("flowq", broker_url(), current=False)
        return _process.app


def serves_tasks() -> bool:
    """Tell whether this thread, or this whole process, runs tasks of a Celery worker."""
    task = get_current_worker_task()
    return task_join_will_block() or (task is not None and not task.request.is_eager)


def refuse_eager() -> None:
    """Refuse to start a run from an app in eager mode: its messages would go to real workers.

    Raises:
        InvalidFlow: the app has `task_always_eager`.
    """
    if app().conf.task_always_eager:
        raise InvalidFlow(
            f"the Celery app {app().main!r} has task_always_eager, and a flow runs on workers",
            hint="in tests run it with flowq.testing: flowq.testing.run(my_flow, {…})",
        )


def engine() -> Engine:
    """Return the engine of this process."""
    celery = app()
    with _process.lock:
        if _process.engine is None:
            _process.engine = _build(celery, settings())
        return _process.engine


def engine_here() -> tuple[Engine, ThreadDispatcher]:
    """Return the engine whose steps run in threads of this process; they begin with the first."""
    sent_away = engine()
    with _process.lock:
        if _process.here is None:
            dispatcher = ThreadDispatcher(_THREADS)
            here = replace(sent_away, dispatcher=dispatcher)
            dispatcher.start(here)
            # Long timers and retries are the sweeper's, and there need not be any worker.
            Sweeper(here, settings().sweep_pause).start()
            _process.here = here, dispatcher
        return _process.here


def flush_events() -> None:
    """Send what this process still has to tell; before it ends."""
    if _process.engine is not None:
        _process.engine.events.flush()


def _build(celery: Celery, chosen: Settings) -> Engine:
    @cache
    def objects() -> ObjectStore:
        return open_store(chosen.results_url)

    if chosen.faults:
        faults.install(
            injected_faults.hook(injected_faults.parse(chosen.faults), chosen.home / "faults")
        )
    client = redis_client()
    return Engine(
        records=SqlRecords(
            chosen.database_url,
            pool_size=chosen.database_pool_size,
            timeout=chosen.database_timeout_seconds,
        ),
        results=Results(
            RedisCache(client, timedelta(seconds=chosen.result_ttl_seconds)),
            objects,
            chosen.result_threshold_bytes,
            chosen.result_inline_bytes,
        ),
        dispatcher=CeleryDispatcher(celery),
        events=_events(client, chosen),
        registry=registry,
        new_id=uuids.uuid7,
        chance=random.random,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        policies=Policies(
            lease=chosen.lease,
            resend_after=chosen.resend_after,
            resend_longest=timedelta(seconds=chosen.resend_max_seconds),
            retention=chosen.retention,
            orphans_after=timedelta(hours=chosen.orphan_hours),
            max_recoveries=chosen.max_recoveries,
            outage_wait=timedelta(seconds=chosen.outage_wait_seconds),
            input_limit_bytes=chosen.input_limit_bytes,
            chord_from=chosen.chord_from,
            run_budget=chosen.run_budget,
            flow_budget=chosen.flow_budget,
            user_budget=chosen.user_budget,
            cancel_every=chosen.cancel_every,
            cancel_grace=chosen.cancel_grace,
            cleanup=chosen.cleanup,
            most_calls=chosen.program_calls,
            live_programs=chosen.live_programs,
            events=chosen.events,
        ),
    )


def _events(client: Redis, chosen: Settings) -> RedisEvents:
    # Who reads holds a connection while it waits: those of the pool are for the others.
    options = client.connection_pool.connection_kwargs
    connection_class = client.connection_pool.connection_class
    readers = Redis(connection_pool=ConnectionPool(connection_class=connection_class, **options))
    events = RedisEvents(
        client,
        readers,
        max_entries=chosen.events_max_entries,
        ttl=timedelta(seconds=chosen.events_ttl_seconds),
    )
    atexit.register(events.flush)
    return events
