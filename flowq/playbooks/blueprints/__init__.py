"""Blueprints: nodes and edges as front ends draw them, compiled to playbooks, stored in versions.

The public names. Each is imported when it is first asked for.
"""

from typing import TYPE_CHECKING

from flowq.lazy import public_names

if TYPE_CHECKING:
    from flowq.playbooks.blueprints.compiling import compiled
    from flowq.playbooks.blueprints.models import Blueprint
    from flowq.playbooks.blueprints.problems import InvalidBlueprint

__all__ = ["Blueprint", "InvalidBlueprint", "compiled"]

__getattr__, __dir__ = public_names(
    __name__,
    {
        "flowq.playbooks.blueprints.compiling": "compiled",
        "flowq.playbooks.blueprints.models": "Blueprint",
        "flowq.playbooks.blueprints.problems": "InvalidBlueprint",
    },
)
