"""Errors of the function of a flow, for faces that call it when they start or rerun a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from flowq.core.errors import FlowqError, InvalidInput
from flowq.engine.registry.origins import raised_in
from flowq.engine.registry.registry import RegisteredFlow


@contextmanager
def user_errors(flow: RegisteredFlow | None, *, shows_content: bool = True) -> Iterator[None]:
    """Convert an exception of the function of a flow to an error of what was asked for.

    Args:
        flow: The flow; None: this process does not know it, so its function is not called.
        shows_content: Whether to include the message of the exception, which may quote inputs.

    Raises:
        InvalidInput: the function raised; errors from elsewhere pass unchanged.
    """
    try:
        yield
    except FlowqError:
        raise
    except Exception as error:
        if flow is None or not raised_in(flow.subject, error):
            raise
        said = f": {error}" if shows_content else ""
        raise InvalidInput(
            f"flow {flow.name!r} refuses these inputs: {type(error).__name__}{said}"
        ) from error
