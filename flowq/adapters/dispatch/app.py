"""The Celery app that flowq makes when the user has none, with the settings that make Celery safe.

Each setting answers a way in which Celery loses work or time; the reasons stand beside them.
"""

from typing import Any

from celery import Celery

from flowq.adapters.dispatch.addresses import Servers, configure_servers, read_broker
from flowq.core.addresses.redis import RedisAddress


def make_app(name: str, servers: Servers | str, *, current: bool = True) -> Celery:
    """Return an app on a broker. Connects at first use.

    Args:
        servers: What it uses; an address is that of the broker, and of chords if it is a Redis.
        current: Whether it becomes Celery's current app, as any new app does; not when nobody has
            asked for an app, and another one of the process may be current.

    Raises:
        InvalidSetting: the address cannot be read.
    """
    if isinstance(servers, str):
        address = read_broker(servers, "the broker")
        servers = Servers(address, address if isinstance(address, RedisAddress) else None)
    app = Celery(name, set_as_current=current)
    app.conf.update(celery_settings())
    if servers.redis is not None and servers.redis.kind != "unix":
        app.conf.redis_socket_keepalive = True  # a unix socket refuses the option
    configure_servers(app, servers)
    return app


def celery_settings() -> dict[str, Any]:
    """Return Celery settings recommended for any app that runs flowq."""
    return {
        # JSON only: a broker that anyone can write to must not be able to run code.
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        # The lease and the sweeper recover lost steps, sooner and with counted attempts.
        "task_acks_late": False,
        # A step waits in the queue, where any worker can take it, not in a busy worker.
        "worker_prefetch_multiplier": 1,
        # On RabbitMQ, queues order their messages by priority; on Redis this has no effect.
        "task_queue_max_priority": 9,
        # No code waits for a Celery result; chords work without those of their headers.
        "task_ignore_result": True,
        "result_expires": 24 * 3600,
        # Redis may start later than the worker, and restart.
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        # A Redis that is full, or read-only while it fails over, must not end its workers.
        "broker_channel_error_retry": True,
        # A publish that cannot reach Redis fails fast: the sweeper sends it later.
        "task_publish_retry": False,
        # A dead connection that was not closed is detected: by a worker after about 11 s, by a
        # sender after 5 s. One try to connect is enough, for the same reason. RabbitMQ confirms
        # what Celery itself publishes; the messages of flowq are confirmed anyway.
        "broker_transport_options": {
            "health_check_interval": 5,
            "socket_keepalive": True,
            "socket_timeout": 5,
            "socket_connect_timeout": 5,
            "max_retries": 1,
            "interval_start": 0.1,
            "confirm_publish": True,
        },
        # The same for workers on RabbitMQ, after about 20 s.
        "broker_heartbeat": 10,
        "result_backend_transport_options": {"retry_policy": {"max_retries": 1}},
        # The same checks for the connections of chords.
        "redis_backend_health_check_interval": 5,
        "redis_socket_timeout": 5.0,
        "redis_socket_connect_timeout": 5.0,
        # Flower sees every task.
        "worker_send_task_events": True,
        "task_send_sent_event": True,
        # A step that is cancelled by a lost connection would only run again.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
    }
