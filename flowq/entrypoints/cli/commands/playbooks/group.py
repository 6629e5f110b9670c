"""`flowq playbook`: documents in YAML, without HTTP."""

import click

from flowq.entrypoints.cli.group import LazyGroup


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "validate": "playbooks.documents:validate",
        "schema": "playbooks.documents:schema",
    },
)
def playbook() -> None:
    """Check playbooks, which are workflows in YAML.

    FILE may be - for standard input.
    """
