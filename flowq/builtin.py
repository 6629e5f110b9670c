"""The step types that every worker knows, whatever module of flows it was started with.

Importing this registers them. They import what they need when they run.
"""

from flowq.blocks import edge_types
from flowq.playbooks.running import tools

__all__ = ["edge_types", "tools"]
