"""`flowq demo`: the command. The package `demo` runs it."""

import click


@click.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--keep", is_flag=True, help="Leave Flower open after the run, until Ctrl-C.")
def demo(folder: str | None, *, keep: bool) -> int:
    """Run a sample flow on a worker of its own.

    Starts all that is missing (a Valkey, a SQLite file, a Celery worker), reports on the Python
    code in FOLDER, by default the standard library, and stops what it has started.
    """
    from flowq.entrypoints.cli.demo.play import play

    return play(folder=folder, keep=keep)
