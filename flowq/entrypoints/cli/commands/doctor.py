"""`flowq doctor`: the command. The package `doctor` has the checks."""

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import FAILED, OK, UNAVAILABLE


@click.command()
@click.option(
    "--invariants", is_flag=True, help="Check only that the rows of all runs are consistent."
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --invariants: ignore changes younger than this. Use more than the delay of the "
    "queue.",
)
@click.option(
    "--objects",
    is_flag=True,
    help="With --invariants: look up every stored object that a row names. Slow.",
)
@options.as_json
def doctor(*, invariants: bool, grace: float, objects: bool, as_json: bool) -> int:
    """Check Python, Redis, database, results store and workers.

    Each line says ok, warning or problem, and what to do. Exits with 3 when there is a problem.

    With --invariants it reads the rows of all runs, changes nothing, and prints the rows that
    contradict each other. Exits with 1 when there are any.
    """
    if objects and not invariants:
        raise click.UsageError("--objects goes with --invariants")
    if invariants:
        from flowq.entrypoints.cli.doctor.invariants import report_rows

        good = report_rows(grace=grace, objects=objects, as_json=as_json)
        return OK if good else FAILED
    from flowq.entrypoints.cli.doctor.checks import report

    return OK if report(as_json=as_json) else UNAVAILABLE
