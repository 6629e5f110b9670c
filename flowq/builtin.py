"""The step types and programs that every worker knows, whatever module it was started with.

Importing this registers them. They import what they need when they run.
"""

from flowq.blocks import edge_types
from flowq.canvas import program as canvases
from flowq.pipeline import pipeline
from flowq.pipeline.executing import program as pipelines
from flowq.pipeline.executing import recording as pipeline_outcomes
from flowq.pipeline.middleware import caching, rate_limiting
from flowq.playbooks.running import program, tools
from flowq.workflows.steps import own as workflow_values
from flowq.workflows.steps import rows as workflow_rows

__all__ = [
    "caching",
    "canvases",
    "edge_types",
    "pipeline",
    "pipeline_outcomes",
    "pipelines",
    "program",
    "rate_limiting",
    "tools",
    "workflow_rows",
    "workflow_values",
]
