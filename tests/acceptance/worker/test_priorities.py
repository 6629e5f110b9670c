"""An urgent run goes before all that was queued, on a real worker."""

from sqlalchemy import func, select

from flowq.adapters.records.sql.tables import FlowRun
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

    assert (done.status, done.priority) == (RunState.COMPLETED, 1)
    # The worker went on while this process looked; its own clock says what was first.
    before = select(func.count()).where(
        FlowRun.id.in_(low), FlowRun.completed_at <= done.completed_at
    )
    with cluster.records.engine.connect() as connection:
        assert connection.execute(before).scalar_one() < 500
