"""redis-py's clients of a Redis address, for flowq's own keys: results, events and the doctor.

A client has a pool whose callers wait for a connection instead of failing, and gives a server up
that is silent for some seconds; a command is not sent twice after that. Behind sentinels each new
connection asks them who leads.
"""

from typing import Any, Final

from redis import BlockingConnectionPool, ConnectionPool, Redis, SSLConnection
from redis.backoff import ExponentialBackoff
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from flowq.core.addresses.redis import RedisAddress

_SECONDS: Final = 3.0
#: The same for a client whose commands wait for up to half of it.
_READER_SECONDS: Final = 5.0
#: Seconds that a caller waits for a connection of the pool.
_PATIENCE: Final = 5


class _WaitingSentinelPool(SentinelConnectionPool, BlockingConnectionPool):
    """A pool behind sentinels whose callers wait instead of failing."""


def redis_client(address: RedisAddress, connections: int) -> Redis:
    """Return a client, safe to share among threads. Connects at first use.

    Args:
        address: Where the server is.
        connections: Connections at most; further callers wait.
    """
    most = address.options.get("max_connections", connections)
    pool = _pool(address, BlockingConnectionPool, max_connections=most, timeout=_PATIENCE)
    return Redis(connection_pool=pool)


def readers(address: RedisAddress) -> Redis:
    """Return a client each of whose callers may hold a connection of its own for seconds."""
    pool = _pool(address, ConnectionPool)
    # What a reader waits for may come later than an answer would.
    seconds = pool.connection_kwargs["socket_timeout"]
    pool.connection_kwargs["socket_timeout"] = max(seconds, _READER_SECONDS)
    return Redis(connection_pool=pool)


def _pool(address: RedisAddress, kind: type[ConnectionPool], **of_pool: Any) -> ConnectionPool:
    said = {key: value for key, value in address.options.items() if key != "max_connections"}
    options: dict[str, Any] = {
        "db": address.db,
        "username": address.username,
        "password": address.password,
        "socket_connect_timeout": _SECONDS,
        "socket_timeout": _SECONDS,
        "health_check_interval": 10,
        "retry": Retry(ExponentialBackoff(cap=0.2, base=0.05), 2, (RedisConnectionError,)),
        **said,
    }
    if address.kind == "sentinel":
        return _sentinel_pool(address, options, of_pool)
    if address.kind == "unix":
        for name in ("socket_connect_timeout", "socket_keepalive"):
            options.pop(name, None)
        return kind(
            connection_class=UnixDomainSocketConnection, path=address.path, **options, **of_pool
        )
    [(host, port)] = address.hosts
    if address.kind == "tls":
        options |= address.tls
        options["connection_class"] = SSLConnection
    return kind(host=host, port=port, **options, **of_pool)


def _sentinel_pool(
    address: RedisAddress, options: dict[str, Any], of_pool: dict[str, Any]
) -> ConnectionPool:
    login = dict(address.sentinel)
    others = login.pop("min_other_sentinels", 0)
    times = {name: options[name] for name in ("socket_connect_timeout", "socket_timeout", "retry")}
    connect: Any = Sentinel  # published without types
    sentinel = connect(list(address.hosts), others, sentinel_kwargs={**times, **login})
    kind: Any = _WaitingSentinelPool if of_pool else SentinelConnectionPool
    pool: ConnectionPool = kind(address.master_name, sentinel, **options, **of_pool)
    return pool
