"""An urgent run goes before all that was queued, on a real worker."""

from flowq.core.states import RunState
from flowq.engine.runs import submission
from tests.acceptance.apps import worker_flows as flows
from tests.tools.cluster import Cluster


def test_urgent_run_goes_before_a_thousand_that_are_queued(cluster: Cluster) -> None:
    """All of its steps, and the advance after its chord, not only the first message."""
    low = submission.submit_many(cluster.engine, flows.contexts.type, [{"count": 1}] * 1000)
    urgent = submission.submit(cluster.engine, flows.contexts.type, {"count": 20}, priority=1)

    with cluster.worker("--pool=solo"):
        done = cluster.wait(urgent)
        states = cluster.records.autocommit(lambda tx: tx.runs.states(low))

    assert (done.status, done.priority) == (RunState.COMPLETED, 1)
    # The worker goes on while this process looks.
    assert sum(state is RunState.COMPLETED for state in states.values()) < 500
