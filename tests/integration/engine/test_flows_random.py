"""Random programs end as plain Python says, in any order, with losses and duplicates."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from flowq.adapters.dispatch.inprocess import InProcessDispatcher
from flowq.adapters.records.database import SqlRecords
from flowq.core.states import TERMINAL_RUN_STATES
from flowq.engine.engine import Policies
from flowq.engine.model.rows import Batch
from flowq.engine.runtime.context import StepContext
from tests.tools.playing import Stage
from tests.tools.random_flows import programs
from tests.tools.random_flows.expected import differences, evaluate

_begun: Counter[tuple[str, int]] = Counter()


@pytest.fixture(autouse=True)
def ledger() -> Iterator[None]:
    """How often the code of each attempt has begun."""

    def begin(here: StepContext) -> int:
        _begun[str(here.step_id), here.attempt] += 1
        return here.attempt

    _begun.clear()
    with programs.witnessed(begin):
        yield


class FaultyDispatcher(InProcessDispatcher):
    """Loses some messages and doubles others."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__(pick=chance.randrange)
        self._chance = chance

    def send(self, batches: Sequence[Batch]) -> None:
        super().send(batches)
        kept = [one for one in self._ready for _ in range(self._chance.choice([0, 1, 1, 2]))]
        self._ready.clear()
        self._ready += kept


SLOW = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
#: Their retries take real time, so they have none; the simulation has.
PROGRAMS = st.randoms(use_true_random=False).map(
    lambda chance: programs.random_program(chance, retries=False)
)


@given(program=PROGRAMS, seed=st.integers(0, 1000))
@SLOW
def test_outcome_is_what_plain_python_says_in_any_order(
    records: SqlRecords, program: programs.Program, seed: int
) -> None:
    stage = Stage.on(records, seed=seed)

    played = stage.play(programs.flow_of(program), **programs.inputs_of(program))

    expected = evaluate(program, played.id)
    assert differences(stage.engine, played.id, expected) == []
    assert set(_begun.values()) <= {1}


@given(program=PROGRAMS, seed=st.integers(0, 1000))
@SLOW
def test_lost_and_doubled_messages_change_nothing(
    records: SqlRecords, program: programs.Program, seed: int
) -> None:
    stage = Stage.on(records, policies=Policies(resend_after=timedelta(seconds=-5)))
    dispatcher = FaultyDispatcher(random.Random(seed))
    stage = replace(
        stage, engine=replace(stage.engine, dispatcher=dispatcher), dispatcher=dispatcher
    )

    played = stage.submit(programs.flow_of(program), programs.inputs_of(program))
    for _ in range(60):
        dispatcher.run(stage.engine)
        # Steps that are cancelled while they wait leave their child runs behind, to end later.
        if played.status in TERMINAL_RUN_STATES and not stage.sweep():
            break
        stage.sweep()
    else:
        pytest.fail(f"the run does not end: {played.view}")

    expected = evaluate(program, played.id)
    assert differences(stage.engine, played.id, expected) == []
    assert set(_begun.values()) <= {1}
    with records.engine.connect() as connection:
        held = text("SELECT count(*) FROM flow_step_runs WHERE lease_token IS NOT NULL")
        assert connection.execute(held).scalar() == 0
