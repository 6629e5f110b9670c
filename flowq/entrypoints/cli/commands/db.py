"""`flowq db`: migrations, which are shipped inside the package."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from flowq.core.errors import InvalidInput
from flowq.entrypoints.cli import options
from flowq.entrypoints.cli.group import OK, UNAVAILABLE, LazyGroup


@click.group(cls=LazyGroup)
def db() -> None:
    """Migrate the database: upgrade, current, downgrade, partition."""


@db.command()
@click.option("--revision", default="head", show_default=True, help="Upgrade to this revision.")
def upgrade(*, revision: str) -> int:
    """Migrate the database to the revision that this flowq needs."""
    from flowq.adapters.records.migrations import migrate, revisions
    from flowq.entrypoints.cli.app import environment
    from flowq.entrypoints.cli.display import console

    url = environment.settings().database_url
    place = environment.database_place()
    before = revisions.current(url)
    with _revision(revision):
        migrate.upgrade(url, revision)
    after = revisions.current(url)
    if before == after:
        console.note(f"{place} is at revision {after} already")
    else:
        was = f", before at {before}" if before else ""
        console.note(f"{place} is at revision {after} now", was)
    return OK


@db.command()
@options.as_json
def current(*, as_json: bool) -> int:
    """Show the revision of the database."""
    from flowq.adapters.records.migrations import revisions
    from flowq.adapters.records.sql.tables import REVISION
    from flowq.entrypoints.cli.app import environment
    from flowq.entrypoints.cli.display import console

    url = environment.settings().database_url
    revision = revisions.current(url)
    is_current = revision == REVISION
    if as_json:
        console.print_json({"revision": revision, "head": REVISION, "is_current": is_current})
    else:
        console.out().print(revision or "none: there are no flowq tables")
    if not is_current:
        revisions.check_not_newer(revision, environment.database_place())
        console.note(f"this flowq needs {REVISION}: flowq db upgrade")
        return UNAVAILABLE
    return OK


@db.command()
@click.argument("revision")
@click.confirmation_option(prompt="This may delete recorded runs. Continue?")
def downgrade(revision: str) -> int:
    """Migrate the database back to a revision.

    `base` removes all of flowq's tables.
    """
    from flowq.adapters.records.migrations import migrate, revisions
    from flowq.entrypoints.cli.app import environment
    from flowq.entrypoints.cli.display import console

    url = environment.settings().database_url
    before = revisions.current(url)
    revisions.check_not_newer(before, environment.database_place())
    with _revision(revision):
        migrate.downgrade(url, revision)
    now = revisions.current(url)
    console.note(f"{environment.database_place()} is at revision {now or 'none'} now")
    return OK


@db.command()
@options.as_json
def partition(*, as_json: bool) -> int:
    """Partition the large tables by month; only PostgreSQL.

    Workers may continue to run. No row is rewritten. Of tables that are partitioned already it
    makes the months that are missing. There is no way back but a dump of the data.
    """
    from dataclasses import asdict

    from flowq.adapters.records.partitions import converting
    from flowq.entrypoints.cli.app import environment
    from flowq.entrypoints.cli.display import console

    done = converting.partition(environment.settings().database_url, say=console.note)
    if as_json:
        console.print_json([asdict(one) for one in done])
        return OK
    for one in done:
        was = "is partitioned now" if one.is_new else "was partitioned already"
        console.note(f"{one.name} {was}", f", made: {', '.join(one.made)}" if one.made else "")
    return OK


@contextmanager
def _revision(revision: str) -> Iterator[None]:
    """Convert Alembic's errors about a revision to one of flowq's.

    Raises:
        InvalidInput: there is no such revision, or no path to it.
    """
    from alembic.util import CommandError

    from flowq.adapters.records.sql.tables import REVISION

    try:
        yield
    except CommandError as error:
        raise InvalidInput(
            f"the database cannot go to revision {revision!r}: {error}",
            hint=f"the newest is {REVISION}; see: flowq db current",
        ) from error
