"""The flows that this server may start: those that it has imported, without flowq's own programs.

These have routes of their own, which check what they are given.
"""

import logging
from collections.abc import Iterator
from difflib import get_close_matches

from flowq.core.errors import FlowNotFound, FlowqError
from flowq.core.names import is_own
from flowq.engine.registry.registry import RegisteredFlow, registry
from flowq.entrypoints.http.runs.models import FlowInfo

logger = logging.getLogger(__name__)


def known_flow(name: str) -> RegisteredFlow:
    """Return a flow by its name.

    Raises:
        FlowNotFound: this server has not imported one of that name.
    """
    flows = startable()
    if name in flows:
        return flows[name]
    near = get_close_matches(name, flows, n=1)
    raise FlowNotFound(
        f"this server knows no flow {name!r}",
        hint=f"did you mean {near[0]}?" if near else "GET /api/flows lists those that it knows",
    )


def visible_flows() -> Iterator[FlowInfo]:
    """Yield the flows that this server has imported, by name; without invalid ones."""
    for name, flow in sorted(startable().items()):
        try:
            yield FlowInfo(name=name, inputs=flow.input_schema("#/$defs/{model}"))
        except FlowqError as error:
            logger.warning("flow %s cannot be started: %s", name, error)


def startable() -> dict[str, RegisteredFlow]:
    """Return the flows that clients may start, by name."""
    return {name: flow for name, flow in registry.flows.items() if not is_own(name)}
