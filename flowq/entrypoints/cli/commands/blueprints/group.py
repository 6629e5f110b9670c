"""`flowq blueprint`: nodes and edges, stored in the database."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "import": "blueprints.commands:import_",
        "ls": "blueprints.commands:ls",
        "show": "blueprints.commands:show",
        "clone": "blueprints.commands:clone",
        "run": "blueprints.commands:run",
    },
)
def blueprint() -> None:
    """Import, list, clone and run blueprints, which are workflows of nodes and edges.

    NAMED is the id of a blueprint, or its name if only one has it.
    """
