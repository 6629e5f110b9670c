"""F13: an object store that fails, is slow, or has lost an object."""

from collections.abc import Iterator

import pytest

from flowq.core.states import RunState
from tests.chaos.harness import flows
from tests.chaos.harness.http_faults import HttpFaults
from tests.chaos.harness.scenario import Expected, Play
from tests.tools import servers
from tests.tools.waiting import wait_until

SIZE = 2**21


@pytest.fixture
def store(moto_server: str) -> Iterator[HttpFaults]:
    with HttpFaults(moto_server).running() as faults:
        yield faults


@pytest.mark.chaos
@pytest.mark.parametrize("fault", ["fails", "slow"])
def test_object_store_that_does_not_answer_well(
    play: Play, sqlite_url: str, s3_url: str, store: HttpFaults, fault: str
) -> None:
    s3 = {**servers.s3_environment(store.url), "FLOWQ_RESULTS_URL": s3_url}
    with play(sqlite_url) as chaos:
        worker = chaos.worker(slots=2, **s3)
        store.failing, store.slow = fault == "fails", 2.0 if fault == "slow" else 0.0
        for _ in range(2):
            chaos.submit(flows.many_large, 3 * SIZE, size=SIZE, count=3)
        with chaos.outage():
            chaos.pause(4)
            wait_until(lambda: store.hurt > 0, what="a request has felt it")
            store.failing, store.slow = False, 0.0

        chaos.check()
        assert worker.poll() is None


@pytest.mark.chaos
def test_object_that_is_gone_fails_the_step_that_reads_it(
    play: Play, sqlite_url: str, s3_url: str, store: HttpFaults
) -> None:
    s3 = {**servers.s3_environment(store.url), "FLOWQ_RESULTS_URL": s3_url}
    with play(sqlite_url) as chaos:
        store.missing = True
        chaos.worker(slots=2, **s3)
        failed = Expected(status=RunState.FAILED, error="step 'length' failed")
        run_id = chaos.submit(flows.large, failed, size=SIZE)

        chaos.check()

        assert chaos.cluster.step(run_id, "length").error_type == "ResultMissing"
