"""What a test asks at its end: does everything still hold that must hold between the rows?"""

from datetime import timedelta

from flowq.engine.definitions import DefinitionCache
from flowq.engine.engine import Policies
from flowq.engine.ports import Records
from flowq.engine.sweeper.invariants import check


def assert_invariants(
    records: Records,
    *,
    grace: timedelta = timedelta(0),
    max_recoveries: int = Policies().max_recoveries,
    definitions: DefinitionCache | None = None,
) -> None:
    """Fail, with every row at fault, if an invariant is broken.

    Args:
        records: The database.
        grace: How long what is on its way may take. None, by default, since a test asks when all
            has come to rest: then a run that is open and that nothing moves is a fault too.
        max_recoveries: The cap that held.
        definitions: Where specs are remembered, for those who ask again and again.
    """
    broken = check(records, definitions, grace=grace, max_recoveries=max_recoveries)
    assert not broken, "\n".join([f"{len(broken)} violations:", *map(str, broken)])
