"""What an attempt leaves to its own process: a program that it has resumed, and local calls.

Both are claimed and recorded as if a message had brought them; only the message is saved. They run
after the attempt has ended, one after the other, so a program and its local calls take one slot of
the worker. If the process dies, or stops, they are queued rows like any others, or claimed ones
whose leases expire.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from flowq.core.ids import StepRunId
from flowq.engine.attempts.outcomes import AttemptResult
from flowq.engine.attempts.release import send_elsewhere
from flowq.engine.attempts.run import run_attempt, run_claimed
from flowq.engine.engine import Engine
from flowq.engine.model.rows import Message

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Followed:
    """An attempt that was run without a message of its own.

    Attributes:
        row: The step run.
        message: What would have been sent; None for a program that was resumed.
        seconds: How long it took.
    """

    row: StepRunId
    message: Message | None
    ended: AttemptResult
    seconds: float


def run_following(engine: Engine, ended: AttemptResult) -> Iterator[Followed]:
    """Run what follows an attempt here, and yield each when it has ended.

    Raises nothing: the attempt has ended, and the sweeper repairs what fails here. It also sends
    what is to be retried, when that is due.
    """
    waiting = deque([ended])
    try:
        while waiting:
            one = waiting.popleft()
            if one.program is not None:
                began = time.monotonic()
                result = run_claimed(engine, one.program.claim, one.program)
                yield Followed(one.program.claim.id, None, result, time.monotonic() - began)
                waiting.append(result)
            for call in one.calls:
                claim = one.claimed if one.claimed and one.claimed.id == call.id else None
                if claim is None and engine.leases.stopping:
                    send_elsewhere(engine, call.id)
                    continue
                began = time.monotonic()
                result = (
                    run_attempt(engine, call.id, call.run_id, in_chord=False)
                    if claim is None
                    else run_claimed(engine, claim)
                )
                yield Followed(call.id, call, result, time.monotonic() - began)
                waiting.append(result)
    except Exception:
        logger.exception("what follows a step is left to the sweeper", extra={"action": "run"})
