"""A durable pipeline on real workers, which are killed in the middle of it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from flowq.core.ids import RunId, child_run_id, node_id
from flowq.core.states import StepState
from flowq.engine.model.rows import StepView
from flowq.entrypoints.fake_llm import FakeLlm
from flowq.pipeline import (
    CachingMiddleware,
    ExecutionContext,
    ExecutionResult,
    MonitoringMiddleware,
    RateLimitingMiddleware,
    RetryMiddleware,
    SimpleExecutor,
    ValidationMiddleware,
    WorkflowPipeline,
)
from flowq.pipeline.pipeline import chain
from tests.acceptance.apps.pipeline_app import WORK
from tests.tools.cluster import Cluster
from tests.tools.session.processes import Process
from tests.tools.waiting import wait_until

APP = "tests.acceptance.apps.pipeline_app"
PREFORK = ("--pool=prefork", "--concurrency=2")
#: Follows a run; prints the types of its events.
READER = """
import asyncio, sys
from flowq import Run
from flowq.pipeline import get_event_bus

bus = get_event_bus()
bus.subscribe(None, lambda event: print(event.event_type, event.data.get("node", "")))
asyncio.run(bus.follow(Run.get(sys.argv[1]), timeout=300))
"""


def test_a_chain_outlives_its_worker_in_the_pause_between_two_attempts(
    cluster: Cluster, fake_llm: FakeLlm, tmp_path: Path
) -> None:
    """What was waited for, tried, counted and paid stays so; nothing is done twice."""
    cluster.environment |= {
        "FLOWQ_MODEL": "openai:fake",
        "FLOWQ_OPENAI_BASE_URL": fake_llm.url,
        "FLOWQ_PRICES": json.dumps({"openai:fake": {"input": 1, "output": 2}}),
    }
    pipeline = (
        WorkflowPipeline(SimpleExecutor())
        .use(MonitoringMiddleware())
        .use(CachingMiddleware())
        .use(RetryMiddleware(max_retries=3, initial_backoff_seconds=3600, backoff_multiplier=1))
        .use(ValidationMiddleware())
        .use(RateLimitingMiddleware())
    )
    state = {"folder": str(tmp_path), "failures": 2, "text": "the sea", "messages": ["x"]}
    inputs = pipeline._inputs(WORK, ExecutionContext("work", "ann", initial_state=state))

    def asleep(times: int) -> bool:
        sleeps = [one for one in cluster.view(run_id).steps if one.name == "sleep"]
        return len(sleeps) == times and sleeps[-1].status is StepState.WAITING

    with cluster.worker(*PREFORK, name="first", app=APP, stop=signal.SIGKILL) as first:
        run_id = cluster.submit(chain, **inputs)
        reader = Process(
            [sys.executable, "-c", READER, str(run_id)],
            stdout=subprocess.PIPE,
            env=cluster.environment,
            text=True,
        )
        wait_until(lambda: asleep(1), what="it is in its first pause")
        os.killpg(first.pid, signal.SIGKILL)
        first.wait(60)
    cluster.lapse()
    cluster.wake()
    with cluster.worker(*PREFORK, name="second", app=APP, stop=signal.SIGKILL) as second:
        wait_until(lambda: asleep(2), what="it is in its second pause")
        os.killpg(second.pid, signal.SIGKILL)
        second.wait(60)
    cluster.lapse()
    cluster.wake()
    with cluster.worker(*PREFORK, name="third", app=APP):
        result = cluster.result(run_id)

    assert isinstance(result, ExecutionResult | dict)
    found = ExecutionResult.from_dict(result) if isinstance(result, dict) else result
    assert (3, 3) == (found.output["tries"], found.metadata["attempts"])
    assert ["try"] * 3 == (tmp_path / "tries").read_text().splitlines()
    steps = [one for one in cluster.view(run_id).steps if one.called]
    names = [one.name.rpartition(".")[2] for one in steps]
    attempt = ["turn", "nodes", "outcome"]
    assert ["recall", *attempt, "sleep", *attempt, "sleep", *attempt, "keep"] == names
    children = [cluster.view(child_of(run_id, one)) for one in steps if "nodes" in one.name]
    assert (3, 3) == (len({one.id for one in children}), fake_llm.stats.answered)
    tokens = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert tokens == sum(one.tokens for one in children)
    assert (children[-1].tokens, float(children[-1].cost)) == (
        found.metrics["tokens_used"],
        found.metrics["cost"],
    )
    assert found.metrics["cost"] > 0
    told = reader.communicate(timeout=120)[0].splitlines()
    nodes = ["node_executed ask"] * 3 + ["node_executed flaky"]
    assert ["workflow_started ", "execution_started "] == told[:2]
    assert nodes == sorted(told[2:-2])  # those of two processes may overtake each other
    assert ["token_usage ", "execution_completed "] == told[-2:]


def child_of(run_id: RunId, step: StepView) -> RunId:
    return child_run_id(node_id(run_id, step.key))
