"""`flowq playbook`: documents in YAML, without HTTP."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "validate": "playbooks.documents:validate",
        "graph": "playbooks.documents:graph",
        "schema": "playbooks.documents:schema",
        "run": "playbooks.executions:run",
        "events": "playbooks.executions:events",
        "result": "playbooks.executions:result",
        "register": "playbooks.catalogue:register",
        "ls": "playbooks.catalogue:ls",
        "show": "playbooks.catalogue:show",
    },
)
def playbook() -> None:
    """Check, run and register playbooks, which are workflows in YAML.

    FILE may be - for standard input.
    """
