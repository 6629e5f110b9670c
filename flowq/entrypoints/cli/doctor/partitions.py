"""Whether the large tables are partitioned, and whether the coming month has its partition."""

from typing import Final

from flowq.adapters.records.partitions.doctoring import Partitioning, partitioning
from flowq.core.errors import FlowqError
from flowq.entrypoints.cli.app import environment
from flowq.entrypoints.cli.doctor.findings import Finding, Level

_NAME: Final = "partitions"
_HINT: Final = "as the owner of the tables, run: flowq db partition"


def check_partitions() -> Finding:
    """Report the partitions of the large tables."""
    if environment.database_file() is not None:
        return Finding(_NAME, Level.OK, "none; only PostgreSQL has them")
    try:
        found = partitioning(environment.settings().database_url)
    except FlowqError as error:  # what is wrong is a problem of another check
        return Finding(_NAME, Level.WARNING, f"not checked: {error.message}")
    wrong = [text for one in found for text in _wrong(one)]
    if wrong:
        return Finding(_NAME, Level.WARNING, "; ".join(wrong), _HINT)
    parted = [f"{one.table} up to {one.until:%Y-%m-%d}" for one in found if one.until is not None]
    if not parted:
        return Finding(_NAME, Level.OK, "none; for when they help type: flowq docs scaling")
    return Finding(_NAME, Level.OK, f"by month: {', '.join(parted)}")


def _wrong(one: Partitioning) -> list[str]:
    if one.is_interrupted:
        return [f"the conversion of {one.table} was interrupted, or is in progress"]
    if one.until is None:
        return []
    found = []
    if not one.has_next_month:
        found.append(f"{one.table} has no partition for the next month")
    if one.others:
        found.append(
            f"{one.table}_other has rows, of ids that no month contained when they were inserted; "
            "a month of such ids cannot have a partition"
        )
    return found
