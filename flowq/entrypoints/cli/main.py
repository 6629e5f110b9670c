"""The group `flowq`: every command with its arguments and options, and nothing of what they do.

Each command hands its options by name to the function of the same name in its module (see `group`).
"""

from typing import Any

import click

from flowq.core.states import RunState
from flowq.entrypoints.cli.group import FlowqGroup, work

_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
_PARAMETERS = click.option(
    "-p",
    "--param",
    "pairs",
    multiple=True,
    metavar="NAME=VALUE",
    help="An input of the flow: JSON, or text where it is none. May be repeated.",
)
_FILE = click.option(
    "--params",
    "file",
    type=click.File(encoding="utf-8"),
    metavar="FILE",
    help="Inputs as a JSON object in a file; - reads standard input. -p wins over it.",
)
_REST = {"ignore_unknown_options": True, "allow_interspersed_args": False}


def _version(ctx: click.Context, _parameter: click.Parameter, asked: bool) -> None:  # noqa: FBT001
    if asked:
        click.echo(f"flowq {work('app.environment').version()}")
        ctx.exit()


@click.group(
    cls=FlowqGroup,
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
def main(**_: Any) -> None:
    """Durable flows on the Celery you already run."""


@main.command()
@click.argument("folder", required=False, type=click.Path(exists=True, file_okay=False))
@click.option("--keep", is_flag=True, help="Leave Flower open after the run, until Ctrl-C.")
def demo(**options: Any) -> Any:
    """Run a sample flow on a worker of its own.

    Starts all that is missing (a Valkey, a SQLite file, a Celery worker), reports on the Python
    code in FOLDER, by default the standard library, and stops what it has started.
    """
    return work("commands.demo").demo(**options)


@main.command()
@click.argument("target", metavar="FILE[:FLOW]")
@_PARAMETERS
@_FILE
@click.option("--wait", is_flag=True, help="Show progress until the run ends; print its result.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Stop waiting after this long; the run goes on. Implies --wait.",
)
@click.option("--user", metavar="ID", help="Whose run it is.")
@click.option(
    "--idempotency-key",
    "idempotency_key",
    metavar="KEY",
    help="Return the run of this flow that was given this key before, if there is one.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="When the run has to be over, from now on.",
)
@_JSON
def run(**options: Any) -> Any:
    """Start a run of a flow.

    FILE[:FLOW] is a Python file or a module, and the flow in it where there are several:
    examples/codebase.py:codebase, or examples.codebase.
    """
    return work("commands.run").run(**options)


@main.group(cls=FlowqGroup)
def runs() -> None:
    """See and steer runs.

    ls, show, watch, events, result, pause, resume, cancel, signal, cost.

    An ID may be shortened to its first characters.
    """


@runs.command("ls")
@click.option(
    "--status", type=click.Choice([state.value for state in RunState]), help="In this state."
)
@click.option("--flow", "flow_name", metavar="NAME", help="Of this flow, by its registered name.")
@click.option("--waiting", is_flag=True, help="Open, and no worker runs a step of it.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=20, show_default=True)
@_JSON
def ls(**options: Any) -> Any:
    """List the newest runs."""
    return work("commands.runs").ls(**options)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--traceback", is_flag=True, help="Unfold the tracebacks of failed steps.")
@_JSON
def show(**options: Any) -> Any:
    """Show a run: inputs, steps, cost, errors."""
    return work("commands.runs").show(**options)


@runs.command()
@click.argument("run_id", metavar="ID")
@_JSON
def watch(**options: Any) -> Any:
    """Follow a run until it ends.

    Exits with 0 when it has completed, and with 1 when it has failed or was cancelled.
    """
    return work("commands.runs").watch(**options)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Go on until the run ends.")
@click.option("--after", metavar="EVENT", help="Go on after the event with this id.")
@_JSON
def events(**options: Any) -> Any:
    """Print what has happened in a run, a line for each event.

    With --json each line is a JSON object. With --follow it exits with 0 when the run has
    completed, and with 1 when it has failed or was cancelled.
    """
    return work("commands.events").events(**options)


@runs.command()
@click.argument("run_id", metavar="ID")
@_JSON
def result(**options: Any) -> Any:
    """Print what a completed run returned."""
    return work("commands.runs").result(**options)


@runs.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="Who cancels and why, for those who wait for it.")
@click.option("--wait", is_flag=True, help="Wait until the runs have ended.")
@_JSON
def cancel(**options: Any) -> Any:
    """Cancel runs and their child runs.

    Running steps are asked to end, and stopped after a while where that is possible. Exits with 1
    when one of the runs had ended before: it stays as it ended.
    """
    return work("commands.runs").cancel(**options)


@runs.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", help="Who pauses and why, for those who look at it.")
@_JSON
def pause(**options: Any) -> Any:
    """Pause runs and their child runs.

    Running steps end as ever, and nothing else begins until `flowq runs resume`. Exits with 1 when
    one of the runs is stopping or had ended before.
    """
    return work("commands.runs").pause(**options)


@runs.command("raise-budget")
@click.argument("run_id", metavar="ID")
@click.option("--usd", metavar="AMOUNT", help="What the run may cost in all.")
@click.option("--tokens", type=int, help="How many tokens it may use in all.")
@_JSON
def raise_budget(**options: Any) -> Any:
    """Let a run spend more, and resume it if its budget was spent."""
    return work("commands.runs").raise_budget(**options)


@runs.command()
@click.argument("run_ids", metavar="ID...", nargs=-1, required=True)
@_JSON
def resume(**options: Any) -> Any:
    """Let paused runs and their child runs go on."""
    return work("commands.runs").resume(**options)


@runs.command()
@click.argument("run_id", metavar="ID")
@click.argument("name", metavar="NAME")
@click.argument("payload", metavar="[JSON]", required=False)
@_JSON
def signal(**options: Any) -> Any:
    r"""Send a signal to a run, which waits for it or will.

    \b
    flowq runs signal 0199b1c2 approve '{"ok": true}'
    """
    return work("commands.runs").signal(**options)


@runs.command()
@click.option(
    "--by",
    # Those of `CostBy`, which would load what help does not need.
    type=click.Choice(["flow", "model", "user", "day"]),
    default="flow",
    show_default=True,
    help="What the costs are summed by.",
)
@click.option("--days", type=click.FloatRange(min=0, min_open=True), help="Of the last days only.")
@click.option("--flow", "flow_name", metavar="NAME", help="Of this flow, by its registered name.")
@click.option("--user", "user_id", metavar="ID", help="Of this user's runs.")
@click.option("--run", "run_id", metavar="ID", help="Of this run, without its child runs.")
@_JSON
def cost(**options: Any) -> Any:
    """Sum what calls of models have cost.

    Calls whose price nobody knows are counted apart: FLOWQ_PRICES sets prices.
    """
    return work("commands.runs").cost(**options)


@main.command()
@click.argument("target", metavar="FILE[:FLOW]")
@_PARAMETERS
@_FILE
@click.option("--mermaid", is_flag=True, help="Print Mermaid text instead.")
@_JSON
def graph(**options: Any) -> Any:
    """Show the steps of a flow without running it.

    Needs neither Redis nor a database.
    """
    return work("commands.graph").graph(**options)


@main.command(context_settings=_REST, options_metavar="")
@click.argument("target", metavar="[FILE]", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY OPTIONS]...")
def worker(**options: Any) -> Any:
    """Start a Celery worker for the flows of a file or module.

    Does what `celery -A MODULE worker --without-mingle --without-gossip` does, after it has seen
    that the database is migrated; starts the embedded Valkey when FLOWQ_REDIS_URL is not set. All
    further options are Celery's, see `celery worker --help`. FILE may be left out with --app.
    """
    work("app.pools").prepare([str(options["target"]), *options["options"]])
    return work("commands.worker").worker(**options)


@main.command(context_settings=_REST, options_metavar="")
@click.argument("target", metavar="[FILE]", required=False)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="[FLOWER OPTIONS]...")
def flower(**options: Any) -> Any:
    """Start Flower with its Flows tab, for a file or module of flows.

    Does what `celery -A MODULE dashboard` does. All further options are Flower's.
    """
    return work("commands.worker").flower(**options)


@main.command("fake-llm")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it listens.")
@click.option("--port", type=click.IntRange(0, 65535), default=8399, show_default=True)
@click.option(
    "--latency",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="SECONDS",
    help="Before each answer.",
)
def fake_llm(**options: Any) -> Any:
    """Serve an OpenAI-compatible API without a model.

    For tests and trials without a key: text, tools, JSON schemas, streaming and images, always the
    same for the same request. The model's name chooses faults: fake-429x2, fake-3s, fake-cut.
    """
    return work("commands.fake_llm").fake_llm(**options)


@main.group(cls=FlowqGroup)
def db() -> None:
    """Migrate the database: upgrade, current, downgrade."""


@db.command()
@click.option("--revision", default="head", show_default=True, help="Up to this revision.")
def upgrade(**options: Any) -> Any:
    """Bring the database up to what this flowq needs."""
    return work("commands.db").upgrade(**options)


@db.command()
@_JSON
def current(**options: Any) -> Any:
    """Say at which revision the database is."""
    return work("commands.db").current(**options)


@db.command()
@click.argument("revision")
@click.confirmation_option(prompt="This may delete recorded runs. Go on?")
def downgrade(**options: Any) -> Any:
    """Take the database back to a revision.

    `base` removes all of flowq's tables.
    """
    return work("commands.db").downgrade(**options)


@main.command()
@click.option(
    "--invariants", is_flag=True, help="Check instead that the rows of all runs fit together."
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="With --invariants: how long what is on its way may take; longer than the queue is.",
)
@click.option(
    "--objects",
    is_flag=True,
    help="With --invariants: ask the results store for every object that a row names. Slow.",
)
@_JSON
def doctor(**options: Any) -> Any:
    """Check Python, Redis, database, results store and workers.

    Each line says ok, warning or problem, and what to do. Exits with 3 when there is a problem.

    With --invariants it reads the rows of all runs, changes nothing, and prints the rows that
    contradict each other. Exits with 1 when there are any.
    """
    return work("commands.doctor").doctor(**options)
