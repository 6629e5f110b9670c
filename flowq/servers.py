"""Which servers the settings name, and what flowq keeps on them.

Broker and Redis are one server by default: FLOWQ_REDIS_URL, or the embedded Valkey.
FLOWQ_BROKER_URL separates them; if it speaks AMQP, and no Redis is named, none is used. Then small
results and events are in the rows alone, and what cannot work without a Redis is refused by name.
"""

import atexit
from datetime import timedelta

from celery import Celery

from flowq.adapters import redis_client as clients
from flowq.adapters.dispatch.addresses import Servers, read_broker
from flowq.adapters.embedded import EmbeddedValkey
from flowq.adapters.events.redis import RedisEvents
from flowq.adapters.events.unstreamed import UnstreamedEvents
from flowq.adapters.results.redis import RedisCache
from flowq.core.addresses.redis import RedisAddress, read_redis
from flowq.engine.ports import Events
from flowq.settings import Settings


def named_redis(chosen: Settings) -> RedisAddress | None:
    """Return the Redis that FLOWQ_REDIS_URL names."""
    return read_redis(chosen.redis_url) if chosen.redis_url else None


def of_settings(chosen: Settings) -> Servers:
    """Return what an app uses that flowq makes: the settings say it, else the embedded Valkey."""
    named = named_redis(chosen)
    if chosen.broker_url is None:
        own = named or read_redis(EmbeddedValkey(chosen.home).url)
        return Servers(own, own, chosen.redis_prefix)
    broker = read_broker(chosen.broker_url)
    redis = named or (broker if isinstance(broker, RedisAddress) else None)
    return Servers(broker, redis, chosen.redis_prefix)


def in_redis(
    address: RedisAddress | None, chosen: Settings, prefix: str
) -> tuple[RedisCache | None, Events]:
    """Return the cache of small results and the streams of events; without a Redis there is none.

    The rows have what either would hold.
    """
    if address is None:
        return None, UnstreamedEvents()
    client = clients.redis_client(address, chosen.redis_pool_size)
    events = RedisEvents(
        client,
        # Who reads holds a connection while it waits: those of the pool are for the others.
        clients.readers(address),
        max_entries=chosen.events_max_entries,
        ttl=timedelta(seconds=chosen.events_ttl_seconds),
        prefix=prefix,
    )
    atexit.register(events.flush)
    return RedisCache(client, timedelta(seconds=chosen.result_ttl_seconds), prefix), events


def broker_hint(app: Celery, chosen: Settings) -> str:
    """Return what to do when the broker does not take messages."""
    url = app.conf.broker_write_url
    if url == EmbeddedValkey(chosen.home).url:
        return "start a worker, which starts the embedded Valkey; or set FLOWQ_REDIS_URL"
    named = named_redis(chosen)
    if chosen.broker_url and url == read_broker(chosen.broker_url).celery_url:
        return "check FLOWQ_BROKER_URL and that the broker runs; then: flowq doctor"
    if named is not None and url == named.celery_url:
        return "check FLOWQ_REDIS_URL and that Redis runs; then: flowq doctor"
    return f"check that this broker runs, and the broker_url of app {app.main!r}"
