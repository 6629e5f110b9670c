"""Checks a document: its shape by `grammar`, then what depends on several keys by `rules`.

All problems are found at once and stand in the order of the text.
"""

from collections.abc import Iterable
from typing import Any

from flowq.core.text.json_values import JsonPath, flaw
from flowq.playbooks.document.grammar.documents import PLAYBOOK
from flowq.playbooks.document.problems import NOWHERE, Place, Problem
from flowq.playbooks.document.report import Report, found
from flowq.playbooks.document.rules import check_rules


def check(
    data: Any, places: Place = NOWHERE, *, compat: bool = False
) -> tuple[list[Problem], list[Problem]]:
    """Return the problems and the warnings of a document.

    Args:
        data: What `reading` returned, or data that was made in Python.
        places: The places of its values; without, lines are 0.
        compat: Whether unknown keys are warnings.
    """
    report = Report(data, places, lenient=compat)
    if not isinstance(data, dict):
        report.problem((), f"a playbook is a mapping; found {found(data)}")
    elif places is NOWHERE and (wrong := _unstorable(data)):
        report.problem(*wrong)
    else:
        PLAYBOOK.check(data, (), report)
        check_rules(data, report)
    return in_order(report.problems), in_order(report.warnings)


def in_order(problems: Iterable[Problem]) -> list[Problem]:
    """Return problems in the order of the text."""
    return sorted(problems, key=lambda one: (one.line, one.column))


def _unstorable(data: Any) -> tuple[JsonPath, str] | None:
    """Return what cannot be written as JSON: only data that was made in Python has such."""
    waiting: list[tuple[JsonPath, Any]] = [((), data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            if any(not isinstance(key, str) for key in value):
                return path, "has a key that is no text"
            waiting += [((*path, key), one) for key, one in value.items() if one is not None]
        elif isinstance(value, list):
            waiting += [((*path, at), one) for at, one in enumerate(value)]
        elif value is not None and not isinstance(value, str | int | float):
            return path, f"a {type(value).__name__} is no JSON value"
    return flaw(data)
