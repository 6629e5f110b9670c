"""`flowq demo`: the command. The package `demo` runs it."""

from pathlib import Path

import click


@click.command()
@click.argument("what", metavar="[FOLDER|playbook]", required=False)
@click.option("--keep", is_flag=True, help="Leave Flower open after the run, until Ctrl-C.")
def demo(what: str | None, *, keep: bool) -> int:
    """Run a sample flow, or a sample playbook, on its own worker.

    It starts the missing servers (a Valkey, a SQLite file, a Celery worker) and stops them at the
    end. The flow reports on the Python code in FOLDER, by default the standard library. With
    `playbook` it runs examples/playbooks/cities.yaml instead.
    """
    from flowq.entrypoints.cli.demo.play import play

    if what not in (None, "playbook") and not Path(str(what)).is_dir():
        raise click.UsageError(f"there is no folder {what}")
    return play(what=what, keep=keep)
