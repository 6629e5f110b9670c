"""The statements of steps are such that the driver keeps them prepared."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest
from psycopg import _queries
from sqlalchemy import Dialect
from sqlalchemy.dialects.postgresql import psycopg
from sqlalchemy.sql.compiler import SQLCompiler

from flowq.adapters.records import runs, steps
from flowq.adapters.records.sql.prepared import Prepared


def statements() -> Iterator[tuple[str, Prepared]]:
    for package in (runs, steps):
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            for name, value in vars(import_module(found.name)).items():
                if isinstance(value, Prepared):
                    yield f"{found.name.rpartition('.')[2]}.{name}", value


STATEMENTS = dict(statements())
DIALECT: Dialect = psycopg.dialect()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", STATEMENTS)
def test_driver_does_not_parse_it_each_time(name: str) -> None:
    """psycopg parses a text that is longer, or has more parameters, for each execution."""
    compiled = STATEMENTS[name].statement.compile(dialect=DIALECT)
    assert isinstance(compiled, SQLCompiler)
    given = [one for one, bound in compiled.binds.items() if bound.required]

    # A list in it, and the constants that are written out, take some room.
    assert len(compiled.string) < 0.9 * _queries.MAX_CACHED_STATEMENT_LENGTH
    assert len(given) < 0.9 * _queries.MAX_CACHED_STATEMENT_PARAMS


def test_there_are_statements() -> None:
    assert {"attempts._CLAIM", "resume._COMPLETE_AND_RESUME"} <= set(STATEMENTS)
