"""The step types and programs that every worker knows, whatever module it was started with.

Importing this registers them. They import what they need when they run.
"""

from flowq.blocks import edge_types
from flowq.playbooks.running import program, tools

__all__ = ["edge_types", "program", "tools"]
