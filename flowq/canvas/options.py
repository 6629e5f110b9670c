"""The options of a task in a canvas, from the task and the signatures around it.

What says how a message travels (compression, who gets the reply) has no meaning for a row and is
left out. What changes how the task runs is read here, or refused by name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from celery import Celery
from celery.exceptions import QueueNotFound
from celery.utils.time import maybe_make_aware

from flowq.core.errors import InvalidFlow, NotSerializable

#: Options that say how a message travels.
_OF_MESSAGES: Final = frozenset(
    {
        *("add_to_parent", "argsrepr", "compression", "connection", "delivery_mode"),
        *("ignore_result", "immediate", "kwargsrepr", "mandatory", "origin", "producer"),
        *("publisher", "retry", "retry_policy", "serializer", "timelimit", "utc"),
    }
)
#: Options with which Celery ties a signature to others when it is sent; here rows have ids.
_IDENTITY: Final = frozenset(
    {
        *("chain", "chord", "group_id", "group_index", "parent_id", "replaced_task_nesting"),
        *("reply_to", "root_id", "task_id"),
    }
)
#: Options that tasks themselves may have.
_OF_TASKS: Final = (
    *("exchange", "expires", "queue", "routing_key", "soft_time_limit", "time_limit"),
)
#: Callbacks. Those of a chain or a chord are not for all that is in it.
CALLBACKS: Final = frozenset({"link", "link_error"})
_READ: Final = CALLBACKS | {
    *("countdown", "eta", "headers", "retries", "shadow", "stamped_headers"),
    *_OF_TASKS,
}


def merged(own: Mapping[str, Any], around: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a signature; those of the signatures around it hide its own."""
    options = {**own, **around}
    given = options.keys() - _IDENTITY
    return {name: options[name] for name in given if options[name] is not None}


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What is called after a task: if it has succeeded, and if it has failed."""

    link: tuple[Any, ...] = ()
    link_error: tuple[Any, ...] = ()

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Callbacks":
        """Return the callbacks in the options of a signature."""
        link, link_error = (tuple(listed(options.get(name))) for name in ("link", "link_error"))
        return cls(link, link_error)

    def after(self, own: "Callbacks") -> "Callbacks":
        """Return a signature's own callbacks and these, each once."""
        more = [one for one in self.link if one not in own.link]
        errors = [one for one in self.link_error if one not in own.link_error]
        return Callbacks((*own.link, *more), (*own.link_error, *errors))


def with_own_of_task(task: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a call, with those that its task has for every call."""
    own = {name: getattr(task, name, None) for name in _OF_TASKS}
    return {name: value for name, value in own.items() if value is not None} | dict(options)


def listed(value: Any) -> list[Any]:
    """Return callbacks or stamps as a list; one stands for a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set) else [value]


def refuse_unknown(name: str, options: Mapping[str, Any]) -> None:
    """Refuse options that a step cannot have.

    Raises:
        InvalidFlow: there is one.
        NotSerializable: the arguments are to be written in another form than JSON.
    """
    if options.get("serializer") not in (None, "json"):
        raise NotSerializable(
            f"{name} has the serializer {options['serializer']!r}",
            hint='flowq stores JSON: leave it out, or give "json"',
        )
    if "priority" in options:
        raise InvalidFlow(
            f"{name} has a priority of its own, and a priority is of the whole run",
            hint="leave it out, and start the run with one: durable(…).enqueue(priority=…)",
        )
    unknown = options.keys() - _READ - _OF_MESSAGES - set(listed(options.get("stamped_headers")))
    if unknown:
        raise InvalidFlow(
            f"{name} has the option {min(unknown)!r}, which a durable canvas cannot express",
            hint="leave it out; for what it can express type: flowq docs celery-canvas",
        )


def seconds(option: str, name: str, options: Mapping[str, Any]) -> float | None:
    """Return an option that is a time in seconds.

    Raises:
        InvalidFlow: it is something else.
    """
    value = options.get(option)
    if value is None or isinstance(value, timedelta):
        return None if value is None else value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidFlow(f"{option} of {name} is {value!r}", hint="give seconds")
    return float(value)


def moment(option: str, name: str, options: Mapping[str, Any], app: Celery) -> datetime | None:
    """Return an option that is a moment, as an aware datetime.

    Raises:
        InvalidFlow: it is something else.
    """
    value = options.get(option)
    if value is None:
        return None
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else value
        aware: datetime = maybe_make_aware(read, app.timezone)
    except (TypeError, ValueError, AttributeError):
        raise InvalidFlow(f"{option} of {name} is {value!r}", hint="give a datetime") from None
    return aware


def expiry(
    name: str, options: Mapping[str, Any], app: Celery
) -> tuple[float | None, datetime | None]:
    """Return after how many seconds, or when, a task expires.

    Raises:
        InvalidFlow: `expires` is neither.
    """
    if isinstance(options.get("expires"), str | datetime):
        return None, moment("expires", name, options, app)
    return seconds("expires", name, options), None


def timeout(options: Mapping[str, Any]) -> float | None:
    """Return the shorter one of the time limits, in seconds."""
    limits = [options.get(name) for name in ("time_limit", "soft_time_limit")]
    return min((float(limit) for limit in limits if limit), default=None)


def stamps(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stamps of a signature."""
    return {name: listed(options.get(name)) for name in listed(options.get("stamped_headers"))}


def queue(name: str, options: Mapping[str, Any], app: Celery) -> str | None:
    """Return the queue that options name, as Celery finds it; None leaves it to the routes.

    Raises:
        InvalidFlow: there is no such queue.
    """
    keys = ("queue", "routing_key", "exchange")
    named = {key: options[key] for key in keys if options.get(key)}
    if not named:
        return None
    if "queue" in named:
        try:
            found = app.amqp.router.route(dict(named), name).get("queue")
        except QueueNotFound as error:
            raise InvalidFlow(
                f"the queue of {name} is not known: {error}", hint="see the app's task_queues"
            ) from None
    else:
        known, key = app.amqp.queues.values(), named.get("routing_key")
        found = next((one for one in known if one.routing_key == key), None)
    if found is None:
        raise InvalidFlow(
            f"{name} is sent to {named}, and no queue of the app is bound to that",
            hint="give queue=…",
        )
    return str(getattr(found, "name", found))
