"""The status of a task, in the words of its clients. Pure."""

from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any, Final

from flowq.blocks.errors import Code, PuppyException
from flowq.blocks.reports.outline import Outline

#: Where an error begins that has a number, in the text of the run's error.
_NUMBERED: Final = "[PUPPYENGINE_ERROR_"
#: What the error of a run begins with that has failed by a step.
_OF_A_STEP: Final = "step "
_UNKNOWN: Final = "no reason was recorded"


def task_status(
    outline: Outline,
    task: str,
    status: str,
    *,
    times: tuple[datetime | None, datetime | None],
    error: str | None,
    ended: AbstractSet[str],
) -> dict[str, Any]:
    """Return the status of a task as v1 has it.

    Args:
        outline: Its document.
        task: Its id.
        status: `PENDING`, `RUNNING`, `COMPLETED` or `FAILED`.
        times: When it began and ended.
        error: Why it failed.
        ended: Keys of the steps that have completed or were skipped.
    """
    total, processed = len(outline.blocks), outline.processed(ended)
    percent = 100.0 if status == "COMPLETED" else round(100 * processed / total, 2) if total else 0
    began, end = (time.isoformat() if time else None for time in times)
    return {
        "task_id": task,
        "status": status,
        "start_time": began,
        "end_time": end,
        "error_message": error,
        "total_blocks": total,
        "processed_blocks": processed,
        "progress_percentage": percent,
    }


def plain_error(message: str | None) -> str:
    """Return the error of a run as clients of documents know it: from its number on."""
    text = message or _UNKNOWN
    return numbered(text) if _NUMBERED in text or text.startswith(_OF_A_STEP) else text


def numbered(message: str | None) -> str:
    """Return the error of an edge from its number on; one that has none gets the general one."""
    text = message or _UNKNOWN
    found = text.find(_NUMBERED)
    return text[found:] if found >= 0 else PuppyException(Code.EDGE, text).message


def cancelled(reason: str | None) -> str:
    """Return the error of a cancelled task for clients of v1, which know failed tasks only."""
    return f"cancelled: {reason}" if reason else "cancelled"
