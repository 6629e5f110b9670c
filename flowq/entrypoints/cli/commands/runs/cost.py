"""`flowq runs cost`: what calls of models have cost, by whom and what for."""

from datetime import UTC, datetime, timedelta

import click

from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK


@click.command()
@click.option(
    "--by",
    metavar="GROUP[,GROUP]",
    default="flow",
    show_default=True,
    help="Group the costs by flow, model, user, day, or metadata.KEY; or by two of them.",
)
@click.option(
    "--days", type=click.FloatRange(min=0, min_open=True), help="Only calls of the last days."
)
@click.option("--since", type=click.DateTime(), metavar="TIME", help="Only calls since then, UTC.")
@click.option("--until", type=click.DateTime(), metavar="TIME", help="Only calls before then, UTC.")
@click.option("--flow", "flow_name", metavar="NAME", help="Only runs of this flow.")
@click.option("--user", "user_id", metavar="ID", help="Only runs of this user.")
@click.option("--run", "run_id", metavar="ID", help="Only this run, without its child runs.")
@click.option("--csv", "as_csv", is_flag=True, help="Print comma-separated values.")
@options.as_json
def cost(
    *,
    by: str,
    days: float | None,
    since: datetime | None,
    until: datetime | None,
    flow_name: str | None,
    user_id: str | None,
    run_id: str | None,
    as_csv: bool,
    as_json: bool,
) -> int:
    """Show the cost of model calls.

    `--by metadata.customer,model` groups by a key of the metadata that runs are enqueued with, and
    by model. Calls of unknown cost are counted separately; FLOWQ_PRICES sets prices.
    """
    from flowq.engine.model.model_calls import CostGroup
    from flowq.entrypoints.cli.app import recorded
    from flowq.entrypoints.cli.display.costs import print_costs

    if days and since:
        raise click.UsageError("--days and --since exclude each other")
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    names = by.split(",")
    if len(names) > 2:
        raise click.UsageError("--by takes one or two groups")
    groups = [CostGroup.parse(name) for name in names]
    engine = recorded.engine()
    begin = datetime.now(UTC) - timedelta(days=days) if days else _utc(since)
    run = recorded.run(run_id).id if run_id else None
    lines = engine.records.autocommit(
        lambda tx: tx.llm_requests.costs(
            *groups,
            since=begin,
            until=_utc(until),
            flow_name=flow_name,
            user_id=user_id,
            run_id=run,
        )
    )
    print_costs(lines, groups, as_csv=as_csv, as_json=as_json)
    return OK


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.replace(tzinfo=UTC)
