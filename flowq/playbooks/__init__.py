"""Playbooks: YAML documents that loop, branch, page and retry, run as one durable program.

The public names. Each is imported when it is first asked for, so that reading a document loads
neither Celery nor a database.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.playbooks.building import Playbook, Step, http, python, tool
    from flowq.playbooks.control.commands import Command
    from flowq.playbooks.control.events import Event, EventName
    from flowq.playbooks.control.facade import (
        ControlFlowEngine,
        PlaybookRepo,
        StateConflict,
        StateStore,
    )
    from flowq.playbooks.document.actions import ToolCall
    from flowq.playbooks.document.problems import InvalidPlaybook
    from flowq.playbooks.document.then import ThenBlock
    from flowq.playbooks.parser import (
        DSLParser,
        PlaybookParserV2,
        get_parser,
        parse_playbook,
        parse_playbook_file,
        read_playbook,
        validate_playbook,
        validate_playbook_file,
    )
    from flowq.playbooks.running.handle import Execution, PlaybookRun
    from flowq.playbooks.running.stores import RedisStateStore, StoredPlaybooks
    from flowq.playbooks.running.tools import TOOLS

__all__ = [
    "TOOLS",
    "Command",
    "ControlFlowEngine",
    "DSLParser",
    "Event",
    "EventName",
    "Execution",
    "InvalidPlaybook",
    "Playbook",
    "PlaybookParserV2",
    "PlaybookRepo",
    "PlaybookRun",
    "RedisStateStore",
    "StateConflict",
    "StateStore",
    "Step",
    "StoredPlaybooks",
    "ThenBlock",
    "ToolCall",
    "get_parser",
    "http",
    "parse_playbook",
    "parse_playbook_file",
    "python",
    "read_playbook",
    "tool",
    "validate_playbook",
    "validate_playbook_file",
]

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.playbooks.building": "Playbook Step http python tool",
        "flowq.playbooks.control.commands": "Command",
        "flowq.playbooks.control.events": "Event EventName",
        "flowq.playbooks.control.facade": """
            ControlFlowEngine PlaybookRepo StateConflict StateStore""",
        "flowq.playbooks.parser": """
            DSLParser PlaybookParserV2 get_parser parse_playbook parse_playbook_file read_playbook
            validate_playbook validate_playbook_file""",
        "flowq.playbooks.document.actions": "ToolCall",
        "flowq.playbooks.document.problems": "InvalidPlaybook",
        "flowq.playbooks.document.then": "ThenBlock",
        "flowq.playbooks.running.handle": "Execution PlaybookRun",
        "flowq.playbooks.running.stores": "RedisStateStore StoredPlaybooks",
        "flowq.playbooks.running.tools": "TOOLS",
    },
)
