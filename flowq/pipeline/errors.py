"""The errors of pipelines, and which of them a retry may follow.

An error of a node that ran on a worker is known by the name of its class only. So classes are
compared by name too: `ConnectionError` is also found by `OSError`, of which it is a subclass.
"""

from collections.abc import Iterable, Iterator
from datetime import timedelta

from flowq.core.errors import FlowqError, InvalidInput


class ValidationError(FlowqError, ValueError):
    """The context or the result of an execution is not as `ValidationMiddleware` demands."""


class RateLimitExceeded(FlowqError):
    """A user has made as many requests as `RateLimitingMiddleware` allows.

    Attributes:
        retry_after: When there is room for the next one.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, retry_after: timedelta | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class NotExecutable(InvalidInput, ValueError):
    """A workflow, a node or a state cannot be executed; nothing was recorded."""


class NodeFailed(FlowqError):
    """A node of a workflow has failed on a worker.

    Attributes:
        node: Its name.
        error: The name of the exception's class.
        reason: Its text.
        run_id: The run of the workflow.
    """

    def __init__(
        self, node: str, error: str, reason: str, run_id: str | None, *, hint: str | None = None
    ) -> None:
        super().__init__(f"node {node!r} failed: {error}: {reason}", hint=hint)
        self.node = node
        self.error = error
        self.reason = reason
        self.run_id = run_id


class RetryableError(Exception):
    """Raise it in a node for a failure that another attempt may avoid."""


class TemporaryServiceError(RetryableError):
    """A service is not available now."""


class NetworkError(RetryableError):
    """A connection has failed."""


class ResourceUnavailableError(RetryableError):
    """A resource is not available now."""


def is_one_of(error: BaseException, kinds: Iterable[type[BaseException]]) -> bool:
    """Return whether an error, or that of a node on a worker, is of one of some classes."""
    classes = tuple(kinds)
    name = getattr(error, "error", None) if isinstance(error, FlowqError) else None
    return isinstance(error, classes) or any(
        name == each.__name__ for one in classes for each in _with_subclasses(one)
    )


def _with_subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _with_subclasses(one)
