"""Playbooks: YAML documents that loop, branch, page and retry, run as one durable program.

The public names. Each is imported when it is first asked for, so that reading a document loads
neither Celery nor a database.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowq.playbooks.document.models import Playbook
    from flowq.playbooks.document.parser import (
        DSLParser,
        PlaybookParserV2,
        get_parser,
        parse_playbook,
        parse_playbook_file,
        read_playbook,
        validate_playbook,
        validate_playbook_file,
    )
    from flowq.playbooks.document.problems import InvalidPlaybook

__all__ = [
    "DSLParser",
    "InvalidPlaybook",
    "Playbook",
    "PlaybookParserV2",
    "get_parser",
    "parse_playbook",
    "parse_playbook_file",
    "read_playbook",
    "validate_playbook",
    "validate_playbook_file",
]

_HOMES = {
    "DSLParser": "document.parser",
    "InvalidPlaybook": "document.problems",
    "Playbook": "document.models",
    "PlaybookParserV2": "document.parser",
    "get_parser": "document.parser",
    "parse_playbook": "document.parser",
    "parse_playbook_file": "document.parser",
    "read_playbook": "document.parser",
    "validate_playbook": "document.parser",
    "validate_playbook_file": "document.parser",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'flowq.playbooks' has no attribute {name!r}")
    value = getattr(import_module(f"flowq.playbooks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
