"""Documents of blocks and edges: read, compiled to a `FlowSpec`, submitted, followed.

The public names. Each is imported when it is first asked for, so that a module of edge types loads
neither Celery nor a database.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowq.blocks.document import Document
    from flowq.blocks.edge_types import edge_type
    from flowq.blocks.env import Env, EnvManager
    from flowq.blocks.errors import DocumentInvalid, EdgeFailed, PuppyException
    from flowq.blocks.planner import ExecutionPlanner
    from flowq.blocks.storage.blocks import (
        BaseBlock,
        BlockFactory,
        ExternalStorageStrategy,
        GenericBlock,
        MemoryStrategy,
    )
    from flowq.blocks.storage.external import BlockStorage
    from flowq.blocks.submitting import submit
    from flowq.blocks.tasks import TaskForbidden, TaskNotFound

__all__ = [
    "BaseBlock",
    "BlockFactory",
    "BlockStorage",
    "Document",
    "DocumentInvalid",
    "EdgeFailed",
    "Env",
    "EnvManager",
    "ExecutionPlanner",
    "ExternalStorageStrategy",
    "GenericBlock",
    "MemoryStrategy",
    "PuppyException",
    "TaskForbidden",
    "TaskNotFound",
    "edge_type",
    "submit",
]

_HOMES = {
    "BaseBlock": "storage.blocks",
    "BlockFactory": "storage.blocks",
    "BlockStorage": "storage.external",
    "Document": "document",
    "DocumentInvalid": "errors",
    "EdgeFailed": "errors",
    "Env": "env",
    "EnvManager": "env",
    "ExecutionPlanner": "planner",
    "ExternalStorageStrategy": "storage.blocks",
    "GenericBlock": "storage.blocks",
    "MemoryStrategy": "storage.blocks",
    "PuppyException": "errors",
    "TaskForbidden": "tasks",
    "TaskNotFound": "tasks",
    "edge_type": "edge_types",
    "submit": "submitting",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'flowq.blocks' has no attribute {name!r}")
    value = getattr(import_module(f"flowq.blocks.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
