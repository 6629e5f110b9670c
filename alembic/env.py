"""Runs flowq's migrations; called by `flowq.adapters.records.migrations` or by Alembic's command.

The URL comes from FLOWQ_DATABASE_URL unless the caller gives one. Only flowq's own tables are
looked at, so autogenerate is safe in a database that it shares with others.
"""

from alembic import context
from flowq.adapters.records.connecting import open_engine
from flowq.adapters.records.models import VERSION_TABLE, Base
from flowq.settings import Settings


def _is_ours(name: str | None, kind: str, _parents: dict[str, str | None]) -> bool:
    return kind != "table" or name in Base.metadata.tables


def run() -> None:
    url = context.config.attributes.get("url") or Settings().database_url
    engine = open_engine(url)
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=Base.metadata,
                version_table=VERSION_TABLE,
                include_name=_is_ours,
                compare_type=True,
                render_as_batch=connection.dialect.name == "sqlite",
            )
            with context.begin_transaction():
                if connection.dialect.name == "postgresql":
                    # Two deployments that migrate at once take turns.
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7046029254386353131)")
                context.run_migrations()
    finally:
        engine.dispose()


run()
