"""What `flowq doctor` finds out about the broker, through Celery as workers do.

It says which one it is, whether a message that the broker has not taken is noticed, and whether the
length of a queue can be read; the sweeper and the reasons why a run waits need that.
"""

from typing import Any, Final

from celery import Celery

from flowq import bootstrap
from flowq.adapters.dispatch.amqp import check_queues
from flowq.adapters.dispatch.celery import CeleryDispatcher
from flowq.core.errors import BrokerUnavailable, Unavailable
from flowq.core.text.masking import masked, without_secrets
from flowq.entrypoints.cli.app import apps
from flowq.entrypoints.cli.doctor.findings import Finding, Level

#: Seconds that a broker has to answer.
_PATIENCE: Final = 3
#: Clients whose `publish` is answered: Redis answers each command, RabbitMQ confirms.
_ANSWERED: Final = ("redis", "py-amqp")
_NOT_STARTED: Final = "the embedded Valkey, which is not running yet"


def check_broker() -> Finding:
    """Check the broker of the app that messages go through."""
    app = bootstrap.app()
    if _is_not_started(app):
        return Finding("broker", Level.OK, _NOT_STARTED)
    place, server, client = _connect(app)
    check_queues(app)
    confirmed = client in _ANSWERED
    said = "messages are confirmed" if confirmed else "messages are not confirmed"
    queue = str(app.conf.task_default_queue)
    try:
        length = f"{CeleryDispatcher(app).depth(queue)} in queue {queue}"
    except BrokerUnavailable as error:
        text = f"{server} at {place}, {said}; the length of queue {queue} cannot be read"
        return Finding("broker", Level.WARNING, f"{text}: {error.message}", error.hint)
    text = f"{server} at {place}, {said}, {length}"
    if not confirmed:
        hint = "a lost message is sent again by the sweeper; RabbitMQ and Redis confirm"
        return Finding("broker", Level.WARNING, text, hint)
    return Finding("broker", Level.OK, text)


def ping_broker(app: Celery) -> str:
    """Return what is to be said of the broker of an app: it answers, or nothing has started it.

    Raises:
        Unavailable: it does not answer.
    """
    return _NOT_STARTED if _is_not_started(app) else f"{_connect(app)[0]} answers"


def _is_not_started(app: Celery) -> bool:
    """Return whether the broker is the embedded Valkey, which the first worker or run starts."""
    own = bootstrap.embedded()
    return own is not None and own.pid is None and app.conf.broker_write_url == own.url


def _connect(app: Celery) -> tuple[str, str, str]:
    """Return where a broker is, what it is, and the name of the client library."""
    connection: Any = app.connection_for_write()
    place = masked(str(connection.as_uri()))
    whose = f"of {apps.named()}" if apps.named() and bootstrap.knows_app() else "of the settings"
    try:
        with connection:
            connection.ensure_connection(max_retries=1, timeout=_PATIENCE)
            return place, _server(connection), str(connection.transport.driver_name)
    except Exception as error:  # each transport has its own errors
        raise Unavailable(
            f"the broker {whose}, {place}, cannot be used: {without_secrets(str(error))}",
            hint="check the broker_url of the app, or FLOWQ_BROKER_URL, and that the broker runs",
        ) from error


def _server(connection: Any) -> str:
    if connection.transport.driver_name == "py-amqp":
        about = connection.connection.server_properties
        return f"{about.get('product', 'AMQP broker')} {about.get('version', '')}".strip()
    return f"{connection.transport.driver_type}".capitalize()
