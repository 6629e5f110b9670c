"""What an attempt may store beside its result."""

from flowq.core.results import block_version
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Claim
from flowq.engine.runtime.attempt_objects import AttemptObjects


def attempt_objects(engine: Engine, claim: Claim) -> AttemptObjects:
    """Return the object store as an attempt uses it."""
    return AttemptObjects(
        lambda: engine.results.objects,
        engine.results.threshold_bytes,
        block_version(claim.id, claim.token),
        engine.definitions.get(claim.run_id).definition.user_id,
        engine.events.now,
    )
