"""`flowq doctor --invariants`: does what the database says fit together, and if not, which rows.

It asks about all runs, changes nothing and may be asked while workers are at work: what is only on
its way is younger than the grace.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from rich.text import Text

from flowq import bootstrap
from flowq.engine.model.rows import Invariant, Violation
from flowq.engine.sweeper.invariants import check, invariants, missing_objects
from flowq.entrypoints import formatting
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.display import console as looks

#: Rows that are printed of one invariant.
_MAX_ROWS: Final = 20


def report_rows(*, grace: float, objects: bool, as_json: bool) -> bool:
    """Check every invariant and print the rows at fault; return whether there are none."""
    environment.prepare_database()
    engine = bootstrap.engine()
    found = check(
        engine.records,
        engine.definitions,
        grace=timedelta(seconds=grace),
        max_recoveries=engine.policies.max_recoveries,
    )
    if objects:
        found += missing_objects(engine.records, engine.results)
    by_name: dict[str, list[Violation]] = {}
    for one in found:
        by_name.setdefault(one.invariant, []).append(one)
    asked = [
        (one, by_name.get(one.name, [])) for one in invariants(engine.records, objects=objects)
    ]
    if as_json:
        formatting = [_as_json(invariant, rows) for invariant, rows in asked]
        looks.print_json({"ok": not found, "invariants": formatting})
    else:
        for invariant, rows in asked:
            _print(invariant, rows)
    return not found


def _as_json(invariant: Invariant, rows: Sequence[Violation]) -> dict[str, Any]:
    names = ("run_id", "step_id", "key", "map_index", "what")
    first = [{name: getattr(row, name) for name in names} for row in rows[:_MAX_ROWS]]
    return {
        "name": invariant.name,
        "text": invariant.text,
        "ok": not rows,
        "violations": len(rows),
        "rows": first,
    }


def _print(invariant: Invariant, rows: Sequence[Violation]) -> None:
    console = looks.out()
    sign = looks.mark("problem" if rows else "ok", console)
    words = (f" {invariant.name:<15}", "bold"), f" {invariant.text}"
    console.print(Text.assemble(sign, *words), soft_wrap=True)
    for row in rows[:_MAX_ROWS]:
        console.print(Text(f"    {row.where}: {row.what}"), soft_wrap=True)
    if len(rows) > _MAX_ROWS:
        console.print(Text(f"    and {formatting.count(len(rows) - _MAX_ROWS)} more"))
