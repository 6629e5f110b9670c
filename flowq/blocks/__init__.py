"""Documents of blocks and edges: read, compiled to a `FlowSpec`, submitted, followed.

The public names. Each is imported when it is first asked for, so that a module of edge types loads
neither Celery nor a database.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

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

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.blocks.document": "Document",
        "flowq.blocks.edge_types": "edge_type",
        "flowq.blocks.env": "Env EnvManager",
        "flowq.blocks.errors": "DocumentInvalid EdgeFailed PuppyException",
        "flowq.blocks.planner": "ExecutionPlanner",
        "flowq.blocks.storage.blocks": """
            BaseBlock BlockFactory ExternalStorageStrategy GenericBlock MemoryStrategy""",
        "flowq.blocks.storage.external": "BlockStorage",
        "flowq.blocks.submitting": "submit",
        "flowq.blocks.tasks": "TaskForbidden TaskNotFound",
    },
)
