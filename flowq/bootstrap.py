"""The composition root: with `servers`, the only file that names concrete adapters.

It builds one `Engine` per process, at first use and never at import. A forked child builds its own:
connections must not be shared across a fork. What the parent had is kept, unused, because closing a
connection in the child would end it for the parent too.
"""

import os
import random
import socket
from dataclasses import replace
from datetime import timedelta
from functools import cache, partial
from threading import Lock
from typing import Any, Final

import uuid_utils.compat as uuids
from celery import Celery
from celery._state import (  # type: ignore[attr-defined]  # the published types lack one
    get_current_worker_task,
    task_join_will_block,
)
from pydantic import ValidationError
from pydantic_settings import SettingsError
from redis import Redis

from flowq import servers
from flowq.adapters import redis_client as clients
from flowq.adapters.dispatch.addresses import (
    Servers,
    broker_prefix,
    broker_redis,
    check_app,
    load_config,
    set_default_broker,
)
from flowq.adapters.dispatch.amqp import check_queues
from flowq.adapters.dispatch.app import make_app
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.adapters.dispatch.threads import ThreadDispatcher
from flowq.adapters.dispatch.unsent import UnsentDispatcher
from flowq.adapters.dispatch.wakeups import RedisWakeups
from flowq.adapters.embedded import EmbeddedValkey
from flowq.adapters.expiring import ExpiringValues
from flowq.adapters.moving_window import RedisWindow
from flowq.adapters.records.database import SqlRecords
from flowq.adapters.records.migrations import own_file
from flowq.adapters.request_rate import RequestRate
from flowq.adapters.results.objects import open_store
from flowq.adapters.tracing.opening import open_tracing
from flowq.core.addresses.redis import RedisAddress, read_redis
from flowq.core.addresses.setting_errors import invalid_settings
from flowq.core.errors import InvalidFlow, InvalidSetting
from flowq.engine.engine import Engine, Policies
from flowq.engine.ports import Dispatcher
from flowq.engine.ports.tracing import message_headers
from flowq.engine.registry.registry import registry
from flowq.engine.results.store import ResultStore
from flowq.engine.sweeper.sweep import Sweeper
from flowq.settings import Settings

#: Steps that run at once for `execute`; most of them wait for something.
_THREADS: Final = 32
#: Seconds that an ending process waits for its logged lines to be written.
_LOGS_WAIT: Final = 5.0


class _ProcessState:
    """What this process has built so far."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.app: Celery | None = None
        #: Whether `app` is one that workers have, and not merely made here.
        self.app_is_known = False
        self.engine: Engine | None = None
        self.here: tuple[Engine, ThreadDispatcher] | None = None
        self.client: Redis | None = None
        self.kept: list[Any] = []


_process = _ProcessState()


def _after_fork() -> None:
    _process.lock = Lock()
    _process.kept += [_process.engine, _process.here, _process.client]
    _process.engine = _process.here = _process.client = None


os.register_at_fork(after_in_child=_after_fork)


@cache
def settings() -> Settings:
    """Return the settings of this process, read once.

    Raises:
        InvalidSetting: some of them cannot be.
    """
    try:
        return Settings()
    except (ValidationError, SettingsError) as error:
        raise invalid_settings(error) from None


def embedded() -> EmbeddedValkey | None:
    """Return the embedded Valkey, or None when another Redis is used, or none.

    FLOWQ_REDIS_URL and FLOWQ_BROKER_URL say so; so does the broker of an app that flowq was
    installed on.
    """
    own = EmbeddedValkey(settings().home)
    return own if redis_address() == read_redis(own.url) else None


def redis_address() -> RedisAddress | None:
    """Return where small results and events are kept; None: nowhere but in the rows.

    Raises:
        InvalidSetting: the app's broker is a Redis that cannot keep them.
    """
    named = servers.named_redis(settings())
    if named is None and _process.app is not None:
        return broker_redis(_process.app)
    return named or servers.of_settings(settings()).redis


def redis_source() -> str:
    """Return what says where that is, for people: a setting, an app's broker, or nothing did."""
    if settings().redis_url:
        return "FLOWQ_REDIS_URL"
    if embedded() is not None:
        return "the embedded Valkey"
    if settings().broker_url and not _process.app_is_known:
        return "FLOWQ_BROKER_URL"
    assert _process.app is not None
    return f"the broker of app {_process.app.main!r}"


def redis_prefix() -> str:
    """Return what the names of flowq's own keys begin with: the setting, else as the app's do."""
    if settings().redis_prefix or _process.app is None:
        return settings().redis_prefix
    return broker_prefix(_process.app)


def _to_give() -> Servers | None:
    """Return the servers of an app that names no broker."""
    chosen = settings()
    return servers.of_settings(chosen) if chosen.redis_url or chosen.broker_url else None


def redis_client() -> Redis:
    """Return a client for Redis with a bounded pool whose callers wait instead of failing.

    Raises:
        InvalidSetting: no Redis is used.
    """
    return clients.redis_client(_required_redis("this"), settings().redis_pool_size)


def _required_redis(what: str) -> RedisAddress:
    address = redis_address()
    if address is None:
        raise InvalidSetting(
            f"{what} needs a Redis, and the broker is none",
            hint="set FLOWQ_REDIS_URL to a Redis; the broker stays what it is",
        )
    return address


def new_app(name: str, *, current: bool = True) -> Celery:
    """Return a new Celery app on the servers of the settings, or on the embedded Valkey."""
    return make_app(name, servers.of_settings(settings()), current=current)


def use_app(app: Celery) -> None:
    """Send through this Celery app from now on; the newest one counts.

    If it turns out to name no broker it is given FLOWQ_BROKER_URL, or else FLOWQ_REDIS_URL.
    """
    set_default_broker(app, _to_give)
    with _process.lock:
        if _process.app is not app or not _process.app_is_known:
            _process.app, _process.app_is_known = app, True
            _process.engine = _process.here = _process.client = None


def knows_app() -> bool:
    """Return whether this process knows the app of its workers, and so the queues of steps."""
    return _process.app_is_known


def forget_app() -> None:
    """Take the app for one that was only made here: leave what is to be sent to the workers."""
    with _process.lock:
        _process.app_is_known = False
        _process.engine = _process.here = None


def app() -> Celery:
    """Return the Celery app of this process; one is made when the user has installed none."""
    with _process.lock:
        if _process.app is None:
            _process.app = new_app("flowq", current=False)
        return _process.app


def serves_tasks() -> bool:
    """Return whether this thread, or this whole process, runs tasks of a Celery worker."""
    task = get_current_worker_task()
    return task_join_will_block() or (task is not None and not task.request.is_eager)


def refuse_eager() -> None:
    """Refuse to start a run from an app in eager mode: its messages would go to real workers.

    Raises:
        InvalidFlow: the app has `task_always_eager`.
        InvalidSetting: its configuration cannot be loaded.
    """
    load_config(app())
    if app().conf.task_always_eager:
        raise InvalidFlow(
            f"the Celery app {app().main!r} has task_always_eager, and a flow runs on workers",
            hint="in tests run it with flowq.testing: flowq.testing.run(my_flow, {…})",
        )


def prepare_worker(app: Celery) -> None:
    """Check what a worker of this app needs, and start the embedded Valkey if it is to use that.

    Raises:
        InvalidSetting: the app or a setting is wrong.
        RedisUnavailable: the embedded Valkey does not start.
    """
    check_app(app)
    check_queues(app)
    own = embedded()
    if own is not None:
        own.use()


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
            policies = _policies(settings())
            here = replace(sent_away, dispatcher=dispatcher, policies=policies)
            dispatcher.start(here)
            # Long timers and retries are the sweeper's, and there need not be any worker.
            Sweeper(here, settings().sweep_pause).start()
            _process.here = here, dispatcher
        return _process.here


def wakeups() -> RedisWakeups | None:
    """Return the requests for passes of the sweepers; None without a Redis: nobody can ask."""
    address = redis_address()
    return None if address is None else RedisWakeups(clients.readers(address), redis_prefix())


def request_rate(number: int, period: timedelta) -> RequestRate:
    """Return what counts the requests of each caller on this Redis; it connects when it counts.

    Raises:
        InvalidSetting: no Redis is used.
    """
    client = clients.redis_client(_required_redis("FLOWQ_HTTP_RATE"), settings().redis_pool_size)
    return RequestRate(client, number, period, redis_prefix())


def has_redis() -> bool:
    """Return whether a Redis is named, or the embedded one runs."""
    own = embedded()
    return redis_address() is not None if own is None else own.pid is not None


def moving_window() -> RedisWindow:
    """Return what counts the executions of users on this Redis.

    Raises:
        InvalidSetting: no Redis is used.
    """
    return RedisWindow(_shared_client("a rate limit over all processes"), redis_prefix())


def expiring_values(prefix: str) -> ExpiringValues:
    """Return values that expire, under names with this prefix in this Redis.

    Raises:
        InvalidSetting: no Redis is used.
    """
    return ExpiringValues(_shared_client("a cache over all processes"), redis_prefix() + prefix)


def _shared_client(what: str) -> Redis:
    address = _required_redis(what)
    with _process.lock:
        if _process.client is None:
            own = embedded()
            if own is not None:
                own.join()
            _process.client = clients.redis_client(address, settings().redis_pool_size)
        return _process.client


def flush_events() -> None:
    """Send what this process still has to tell; before it ends."""
    if _process.engine is not None:
        _process.engine.events.flush()


def flush_logs() -> None:
    """Write what the steps of this process have logged; before it ends."""
    logs = _process.engine.logs if _process.engine is not None else None
    if logs is not None:
        logs.flush(_LOGS_WAIT)


def _build(celery: Celery, chosen: Settings) -> Engine:
    # A wrong setting is refused before a server is asked, so before anything is recorded.
    check_app(celery)
    address, prefix = redis_address(), redis_prefix()
    store = open_store(chosen.results_url)  # looks at the URL alone
    own_file.prepare(chosen.database_url, chosen.home)
    own = embedded()
    if own is not None:
        own.join()
    cache, events = servers.in_redis(address, chosen, prefix)
    policies = _policies(chosen)
    tracing = open_tracing()
    dispatcher: Dispatcher = CeleryDispatcher(
        celery,
        hint=servers.broker_hint(celery, chosen),
        context=partial(message_headers, tracing),
    )
    if not _process.app_is_known:
        dispatcher, policies = (
            UnsentDispatcher(dispatcher, wakeups()),
            # It sends nothing: no items of large maps either, so it expands them.
            replace(policies, resend_after=timedelta(0), expand_at_once=10**9),
        )
    return Engine(
        records=SqlRecords(
            chosen.database_url,
            pool_size=chosen.database_pool_size,
            timeout=chosen.database_timeout_seconds,
        ),
        results=ResultStore(
            cache, lambda: store, chosen.result_threshold_bytes, chosen.result_inline_bytes
        ),
        dispatcher=dispatcher,
        events=events,
        registry=registry,
        new_id=uuids.uuid7,
        chance=random.random,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        policies=policies,
        tracing=tracing,
    )


def _policies(chosen: Settings) -> Policies:
    return Policies(
        lease=chosen.lease,
        resend_after=chosen.resend_after,
        max_resend_after=timedelta(seconds=chosen.resend_max_seconds),
        retention=chosen.retention,
        orphans_after=timedelta(hours=chosen.orphan_hours),
        max_recoveries=chosen.max_recoveries,
        share_window=chosen.share_window,
        outage_wait=timedelta(seconds=chosen.outage_wait_seconds),
        input_limit_bytes=chosen.input_limit_bytes,
        chord_from=chosen.chord_from,
        run_budget=chosen.run_budget,
        flow_budget=chosen.flow_budget,
        user_budget=chosen.user_budget,
        unknown_cost=chosen.unknown_cost_usd,
        cancel_every=timedelta(seconds=chosen.cancel_seconds),
        cancel_grace=timedelta(seconds=chosen.cancel_grace_seconds),
        cleanup=timedelta(seconds=chosen.cleanup_seconds),
        max_calls=chosen.program_calls,
        live_programs=chosen.live_programs,
        events=chosen.events,
        logs_bytes=chosen.logs_limit_bytes if chosen.logs else None,
        logs_kept=chosen.logs_kept,
    )
