"""When each step of a run was queued, ran and ended, as SVG.

One row for a step, one bar for each attempt; one row for a map, with the number of its items that
ended at each time. Pure: rows in, text out. Classes, all styled in `picture.css`:

    fq-gantt                     the picture
    fq-row [fq-critical]         a row; on the critical path
    fq-key, fq-words             its name, and its state and duration
    fq-queued, fq-pause          light: it waited for a worker, or for its next attempt
    fq-bar fq-<state>            solid: an attempt; `fq-<outcome>` if another one followed
    fq-open                      it continues
    fq-span, fq-dense fq-<state> the time of a map, and when its items ended
    fq-tick, fq-grid, fq-now     the axis
    fq-axis, fq-ground           the copy of the axis that stays in sight
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from flowq.core.states import DONE_STEP_STATES, AttemptEnd, StepState
from flowq.engine.queries.graph import PictureNode, RunPicture
from flowq.entrypoints.flower.pictures.axis import Axis, ticks
from flowq.entrypoints.flower.pictures.critical_path import critical_path, ready_times
from flowq.entrypoints.flower.pictures.svg import (
    Link,
    counted,
    element,
    framed,
    label,
    linked,
    nowhere,
    safe,
    sign,
)
from flowq.entrypoints.formatting import count, duration

_WIDTH: Final = 1080.0
_LEFT: Final = 232.0
_RIGHT: Final = 122.0
_TOP: Final = 30.0
_ROW: Final = 22.0
_BAR: Final = 12.0
_MAX_ROWS: Final = 150
_KEY_COLUMNS: Final = 26
_WORDS_COLUMNS: Final = 17
_SAID: Final = {
    AttemptEnd.FAILED: "failed",
    AttemptEnd.DEFERRED: "deferred, a service that it needs was unavailable",
    AttemptEnd.LOST: "lost, its worker stopped responding",
    AttemptEnd.RELEASED: "released, its worker had to stop",
    AttemptEnd.PAUSED: "released, its run was paused",
}
#: The sign in a bar of an attempt that was followed by another.
_SIGNS: Final = {
    AttemptEnd.FAILED: sign(StepState.FAILED),
    AttemptEnd.DEFERRED: "~",
    AttemptEnd.LOST: "?",
    AttemptEnd.RELEASED: "\N{LEFTWARDS ARROW}",
    AttemptEnd.PAUSED: "\N{DOUBLE VERTICAL LINE}",
}


@dataclass(frozen=True, slots=True)
class _Chart:
    """The data that all rows share."""

    picture: RunPicture
    now: datetime
    axis: Axis
    critical: frozenset[str]
    ready: Mapping[str, datetime]


def run_gantt(
    picture: RunPicture,
    *,
    now: datetime,
    link: Link = nowhere,
    most_rows: int = _MAX_ROWS,
    prefix: str = "fq-gantt",
) -> str:
    """Draw when the steps of a run were queued, ran and ended.

    Args:
        picture: The run and its steps.
        now: The end of running bars.
        link: From a step to an address, or None.
        most_rows: How many steps are shown.
        prefix: Begins the ids in the picture.
    """
    axis = _axis(picture, now)
    critical = critical_path(picture, now)
    chart = _Chart(picture, now, axis, frozenset(critical), ready_times(picture))
    shown = _chosen(picture.nodes, chart.critical, most_rows)
    rows = [
        linked(link(node), _row(chart, node, _TOP + place * _ROW))
        for place, node in enumerate(shown)
    ]
    height = _TOP + len(shown) * _ROW + 10
    parts = [*ticks(axis, _TOP, height - 4), *rows]
    hidden = len(picture.nodes) - len(shown)
    if hidden:
        words = f"\N{HORIZONTAL ELLIPSIS} {count(hidden)} more"
        parts.append(label(10, height + 8, words, "fq-words fq-more"))
        height += 20
    if picture.ended_at is None:
        x = axis.at(now)
        parts.append(element("path", d=f"M{x:.1f} {_TOP - 6}V{height - 4:.1f}", cls="fq-now"))
    return framed(
        parts,
        prefix=prefix,
        cls="fq-gantt",
        title=f"Times of the run of {picture.flow_name}",
        desc=_description(picture, axis, critical),
        width=_WIDTH,
        height=height,
    )


def gantt_axis(picture: RunPicture, *, now: datetime) -> str:
    """Draw the axis alone, which stays in sight while the chart is scrolled below it.

    Args:
        picture: The run and its steps.
        now: As in `run_gantt`.
    """
    parts = [element("rect", x=0, y=0, width=_WIDTH, height=_TOP, cls="fq-ground")]
    parts += ticks(_axis(picture, now), _TOP, _TOP)
    inside = "\n".join(parts)
    box = f"0 0 {_WIDTH:g} {_TOP:g}"
    svg = element("svg", inside, viewBox=box, cls="fq-svg fq-gantt", aria_hidden="true")
    return element("div", svg, cls="fq-axis")


def _axis(picture: RunPicture, now: datetime) -> Axis:
    begin = picture.started_at or picture.created_at
    ends = [node.ended_at for node in picture.nodes if node.ended_at is not None]
    end = max([picture.ended_at or now, *ends])
    end = max(end, begin + timedelta(milliseconds=1))
    return Axis(begin, end, _LEFT, _WIDTH - _RIGHT)


def _chosen(nodes: Sequence[PictureNode], critical: frozenset[str], most: int) -> list[PictureNode]:
    """Return the steps to show, in order: preferably failed, long and critical ones."""
    if len(nodes) <= most:
        return list(nodes)

    def weight(node: PictureNode) -> tuple[bool, bool, bool, float]:
        took = 0.0
        if node.started_at is not None and node.ended_at is not None:
            took = (node.ended_at - node.started_at).total_seconds()
        is_open = node.ended_at is None and node.status is not StepState.PENDING
        return (node.status is not StepState.FAILED, node.key not in critical, not is_open, -took)

    return sorted(sorted(nodes, key=weight)[:most], key=lambda node: node.order)


# --- rows -----------------------------------------------------------------------------------------


def _row(chart: _Chart, node: PictureNode, y: float) -> str:
    is_critical = node.key in chart.critical
    now, ready = chart.now, chart.ready.get(node.key)
    parts = [
        element("title", safe(_tooltip(node, ready, is_critical=is_critical))),
        element("rect", x=0, y=y, width=_WIDTH, height=_ROW, cls="fq-lane"),
    ]
    if is_critical:
        parts.append(element("rect", x=2, y=y + 5, width=4, height=_ROW - 10, cls="fq-mark"))
    middle = y + _ROW / 2 + 4
    parts.append(label(20, middle, sign(node.status), "fq-sign", text_anchor="middle"))
    parts.append(label(34, middle, node.key, "fq-key", columns=_KEY_COLUMNS))
    top = y + (_ROW - _BAR) / 2
    parts += _map_bars(chart, node, top) if node.is_many else _bars(chart, node, top)
    words = _words(node, now)
    x = _WIDTH - _RIGHT + 10
    parts.append(label(x, middle, words, "fq-words", columns=_WORDS_COLUMNS))
    critical = " fq-critical" if is_critical else ""
    return element("g", *parts, cls=f"fq-row fq-{node.status}{critical}")


def _bars(chart: _Chart, node: PictureNode, top: float) -> Iterator[str]:
    axis, now = chart.axis, chart.now
    waits_since, waiting = chart.ready.get(node.key), "fq-queued"
    for past in node.past:
        if waits_since is not None and past.started_at > waits_since:
            yield axis.bar(waits_since, past.started_at, top + 4, _BAR - 8, waiting)
        yield axis.bar(past.started_at, past.ended_at, top, _BAR, f"fq-bar fq-{past.outcome}")
        width = axis.at(past.ended_at) - axis.at(past.started_at)
        if width > 14:
            x = axis.at(past.started_at) + width / 2
            own = _SIGNS[past.outcome]
            yield label(x, top + _BAR - 3, own, "fq-in", text_anchor="middle")
        waits_since, waiting = past.ended_at, "fq-pause"
    began = _last_start(node)
    if node.status in {StepState.QUEUED, StepState.RETRYING}:
        if waits_since is not None:
            yield axis.bar(waits_since, now, top + 4, _BAR - 8, f"{waiting} fq-open")
    elif began is not None:
        if waits_since is not None and began > waits_since:
            yield axis.bar(waits_since, began, top + 4, _BAR - 8, waiting)
        is_open = " fq-open" if node.ended_at is None else ""
        yield axis.bar(began, node.ended_at or now, top, _BAR, f"fq-bar fq-{node.status}{is_open}")


def _last_start(node: PictureNode) -> datetime | None:
    """Return when the attempt in the step's row began, unless another followed it."""
    if node.past and node.started_at is not None and node.started_at <= node.past[-1].started_at:
        return None
    return node.began_at


def _map_bars(chart: _Chart, node: PictureNode, top: float) -> Iterator[str]:
    """Yield the bar of a map, and the number of items that ended in each part of the run."""
    if node.started_at is None:
        return
    picture, axis = chart.picture, chart.axis
    begin, end = node.started_at, node.ended_at or chart.now
    is_open = " fq-open" if node.ended_at is None else ""
    yield axis.bar(begin, end, top - 2, _BAR + 4, f"fq-span{is_open}")
    if not node.ended_in:
        return
    most = max(node.ended_in.values())
    span = picture.span[1] - picture.span[0]
    for failed in (False, True):
        of = node.failed_in if failed else node.ended_in
        state = StepState.FAILED if failed else StepState.COMPLETED
        path = ""
        for part, many in sorted(of.items()):
            left = axis.at(max(picture.span[0] + span * part / picture.parts, begin))
            right = axis.at(min(picture.span[0] + span * (part + 1) / picture.parts, end))
            tall = max((_BAR + 2) * many / most, 1.5)
            wide = max(right - left, 1.0)
            path += f"M{left:.1f} {top + _BAR + 1:.1f}v{-tall:.1f}h{wide:.1f}v{tall:.1f}z"
        if path:
            yield element("path", d=path, cls=f"fq-dense fq-{state}")


def _words(node: PictureNode, now: datetime) -> str:
    if node.is_many:
        done = sum(node.counts.get(state, 0) for state in DONE_STEP_STATES)
        return f"{count(done)} of {count(node.size)}" if node.size is not None else str(node.status)
    began = _last_start(node)
    if node.status in {StepState.QUEUED, StepState.RETRYING} or began is None:
        return str(node.status)
    took = node.took(now)
    tries = f", {count(len(node.past) + 1)} tries" if node.past else ""
    return str(node.status) if took is None else duration(took.total_seconds()) + tries


def _tooltip(node: PictureNode, ready: datetime | None, *, is_critical: bool) -> str:
    lines = [f"{node.key}: {node.status}" + (", on the critical path" if is_critical else "")]
    if node.is_many:
        lines.append(counted(node))
        if node.retried:
            lines.append(f"{count(node.retried)} attempts were retried")
    began = node.started_at
    if ready is not None and began is not None and began > ready and not node.past:
        lines.append(f"queued for {duration((began - ready).total_seconds())}")
    lines += [
        f"attempt {past.number}: {_SAID[past.outcome]}, after "
        f"{duration((past.ended_at - past.started_at).total_seconds())}"
        + (f": {past.error_type}: {past.error}" if past.error_type else "")
        for past in node.past[-5:]
    ]
    if began is not None:
        lines.append(f"started {began:%Y-%m-%d %H:%M:%S} UTC")
    if node.error_type:
        lines.append(f"{node.error_type}: {node.error or ''}")
    return "\n".join(lines)


def _description(picture: RunPicture, axis: Axis, critical: Sequence[str]) -> str:
    going = "so far" if picture.ended_at is None else "in all"
    said = f"The run is {picture.status}; it took {duration(axis.seconds)} {going}."
    if critical:
        path = ", ".join(critical[:12])
        more = f" and {count(len(critical) - 12)} more" if len(critical) > 12 else ""
        said += f" The critical path: {path}{more}."
    if picture.is_collapsed:
        said += " Steps with the same name share a row."
    return said
