"""The flow engine's examples on a real worker: classes, a nested flow, totals of the metadata."""

import json

import pytest

from flowq.entrypoints.fake_llm import FakeLlm
from tests.acceptance.commands import Shell
from tests.tools.cluster import Cluster

APP = "tests.acceptance.apps.article_flows"
PRICES = {"openai:fake": {"input": 1, "output": 2}}
ENQUEUE = """
from tests.acceptance.apps.article_flows import MasterFlow

run = MasterFlow.enqueue({"text": "A long text"})
run.result(timeout=60)
print(run.id)
failed = MasterFlow.enqueue({"text": 7})
failed.wait(timeout=60)
print(failed.id)
"""


def test_two_steps_and_a_nested_flow(
    cluster: Cluster, fake_llm: FakeLlm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cluster.environment |= {
        "FLOWQ_MODEL": "openai:fake",
        "FLOWQ_OPENAI_BASE_URL": fake_llm.url,
        "FLOWQ_PRICES": json.dumps(PRICES),
    }
    shell = Shell(tmp_path_factory.mktemp("shell"), cluster.environment)
    with cluster.worker("-P", "threads", "-c", "4", app=APP):
        done, failed = shell.python(ENQUEUE).split()

    run = shell.flowq("runs", "show", done, "--json").json
    refused = shell.flowq("runs", "show", failed)

    assert ("master_flow", "completed") == (run["flow_name"], run["status"])
    assert ["master_flow", "article_flow#1", "tests_summarise#2"] == [
        one["key"] for one in run["steps"]
    ]
    made = run["outputs"]
    article = made["article"]
    child = shell.flowq("runs", "show", article["metadata"][0]["run_id"], "--json").json
    assert ["article_flow", "tests_summarise#1", "tests_article#2"] == [
        one["key"] for one in child["steps"]
    ]
    used = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert 3 == fake_llm.stats.answered
    assert used == made["total_tokens"] == run["tokens"] + child["tokens"]  # each counts its own
    assert article["total_tokens"] == child["tokens"] > 0
    assert article["total_cost"] == pytest.approx(float(child["cost"]))
    assert made["total_cost"] == pytest.approx(float(run["cost"]) + float(child["cost"]))
    assert [True, True] == article["has_provider"]
    assert ["unstructured_llm", "structured_llm"] == [
        one["step_type"] for one in article["metadata"]
    ]
    assert {"provider", "model", "execution_time_ms"} <= set(article["metadata"][0])
    assert "the inputs of flow 'article_flow' are invalid" in refused.out
    assert "ArticleFlow" not in refused.out
