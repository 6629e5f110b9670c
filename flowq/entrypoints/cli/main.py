"""The group `flowq`: its commands by name, and the options that all of them have."""

import click

from flowq.entrypoints.cli.group import LazyGroup


def _version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        from flowq.entrypoints.cli.app.environment import version  # noqa: PLC0415 - loads it all

        click.echo(f"flowq {version()}")
        ctx.exit()


@click.group(
    cls=LazyGroup,
    lazy_subcommands={
        "demo": "demo:demo",
        "run": "run:run",
        "runs": "runs.group:runs",
        "schedules": "schedules.group:schedules",
        "graph": "graph:graph",
        "blocks": "blocks:blocks",
        "playbook": "playbooks.group:playbook",
        "blueprint": "blueprints.group:blueprint",
        "workflow": "workflow:workflow",
        "worker": "worker:worker",
        "flower": "worker:flower",
        "api": "api:api",
        "fake-llm": "fake_llm:fake_llm",
        "db": "db:db",
        "doctor": "doctor:doctor",
        "docs": "docs:docs",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="New here? Type `flowq demo`. Something wrong? Type `flowq doctor`.",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_version,
    help="Print the version.",
)
@click.option(
    "-A",
    "--app",
    metavar="MODULE",
    help="The Celery app whose queues and broker are used, as of `celery -A`. [env: FLOWQ_APP]",
)
def main(app: str | None) -> None:
    """Durable flows on the Celery you already run."""
