"""The critical path: the steps without which a run would have ended sooner.

It goes back from the step that ended last. Each step leads to the dependency that ended last. For a
call of a program, whose dependencies are not recorded, that is the call that had ended last when
the step was called.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from flowq.core.states import TERMINAL_STEP_STATES, StepState
from flowq.engine.queries.graph import PictureEdge, PictureNode, RunPicture

_Before = Callable[[PictureNode], Iterable[PictureNode]]


def critical_path(picture: RunPicture, now: datetime) -> tuple[str, ...]:
    """Return the keys of the path, first step first; nothing for a collapsed picture.

    Args:
        now: Used as the end of running steps.
    """
    if picture.is_collapsed:
        return ()
    moved = [node for node in picture.nodes if _end(node, now) is not None]
    before = _of_program(moved) if picture.program else _of_graph(moved, picture.edges)
    path: list[str] = []
    node = _last(moved, now)
    while node is not None and node.key not in path:
        path.append(node.key)
        node = _last(before(node), now)
    return tuple(reversed(path))


def ready_times(picture: RunPicture) -> dict[str, datetime]:
    """Return when each step could have begun; steps that still wait are missing."""
    if picture.program is not None or picture.is_collapsed:
        return {node.key: node.created_at for node in picture.nodes if node.created_at is not None}
    ended = {node.key: node.ended_at for node in picture.nodes}
    start = picture.started_at or picture.created_at
    ready: dict[str, datetime | None] = dict.fromkeys(ended, start)
    for edge in picture.edges:
        since, end = ready[edge.after], ended[edge.before]
        ready[edge.after] = None if since is None or end is None else max(since, end)
    return {key: since for key, since in ready.items() if since is not None}


def _end(node: PictureNode, now: datetime) -> datetime | None:
    """Return when a step ended, or now while it runs; None if it never ran."""
    if node.status in {StepState.SKIPPED, StepState.PENDING}:
        return None
    if node.ended_at is not None:
        return node.ended_at if node.began_at or node.past else None
    return None if node.status in TERMINAL_STEP_STATES else now


def _last(nodes: Iterable[PictureNode], now: datetime) -> PictureNode | None:
    """Return the step that ended last; of several, the one that began first, for a short path."""
    return max(
        nodes, key=lambda node: (_end(node, now) or node.created_at, -node.order), default=None
    )


def _of_graph(nodes: Sequence[PictureNode], edges: Iterable[PictureEdge]) -> _Before:
    by_key = {node.key: node for node in nodes}
    before: dict[str, list[PictureNode]] = {}
    for edge in edges:
        if edge.before in by_key:
            before.setdefault(edge.after, []).append(by_key[edge.before])
    return lambda node: before.get(node.key, ())


def _of_program(nodes: Sequence[PictureNode]) -> _Before:
    def before(node: PictureNode) -> list[PictureNode]:
        if node.created_at is None:
            return []
        return [
            one
            for one in nodes
            if one.order < node.order
            and one.ended_at is not None
            and one.ended_at <= node.created_at
        ]

    return before
