"""Real workers that call models: side by side, and killed in the middle of it."""

import csv
import json
import signal

import pytest

from flowq.core.usage import RequestStatus, Tokens
from flowq.engine.model.model_calls import CostBy, CostLine
from flowq.entrypoints.fake_llm import FakeLlm, server
from flowq.entrypoints.fake_llm.faults import Behaviour
from tests.acceptance.apps import llm_app as flows
from tests.acceptance.commands import Shell
from tests.tools.cluster import Cluster
from tests.tools.waiting import wait_until

APP = "tests.acceptance.apps.llm_app"
PRICE = {"input": 1, "output": 2}


@pytest.fixture
def model_cluster(cluster: Cluster, fake_llm: FakeLlm) -> Cluster:
    """A cluster whose workers ask the fake model."""
    cluster.environment |= {
        "FLOWQ_MODEL": "openai:fake",
        "FLOWQ_OPENAI_BASE_URL": fake_llm.url,
        "FLOWQ_PRICES": json.dumps({"openai:fake": PRICE, "openai:fake-10s": PRICE}),
    }
    return cluster


def spent(cluster: Cluster) -> CostLine:
    [line] = cluster.records.autocommit(lambda tx: tx.llm_requests.costs(CostBy.FLOW))
    return line


def test_many_calls_run_at_once_in_one_process(model_cluster: Cluster, fake_llm: FakeLlm) -> None:
    texts = [f"text {number}" for number in range(60)]
    with model_cluster.worker("-P", "threads", "-c", "60", app=APP):
        run_id = model_cluster.submit(flows.summaries, texts=texts, model="openai:fake-10s")
        model_cluster.result(run_id)

    assert 60 == fake_llm.stats.calls == fake_llm.stats.answered
    assert fake_llm.stats.most_at_once > 40
    view = model_cluster.view(run_id)
    answered = Tokens(fake_llm.stats.input_tokens, fake_llm.stats.output_tokens)
    line = spent(model_cluster)
    assert (answered, view.tokens) == (line.tokens, answered.total)
    assert view.cost == line.cost > 0


def test_what_was_answered_is_paid_for_once_though_a_worker_is_killed(
    model_cluster: Cluster, fake_llm: FakeLlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = {"seconds": 600.0}

    def behaviour(_: str) -> Behaviour:
        """Answer the first five at once, and hold the others until the worker is killed."""
        return Behaviour(seconds=held["seconds"] if fake_llm.stats.calls > 5 else 0.0)

    monkeypatch.setattr(server, "behaviour", behaviour)
    texts = [f"text {number}" for number in range(15)]
    options = ("-P", "threads", "-c", "5")
    with model_cluster.worker(*options, app=APP, stop=signal.SIGKILL) as worker:
        run_id = model_cluster.submit(flows.summaries, texts=texts, model="openai:fake")

        def at_rest() -> bool:
            made = model_cluster.records.autocommit(lambda tx: tx.llm_requests.of_run(run_id))
            done = [one for one in made if one.status is RequestStatus.COMPLETED]
            return len(done) == 5 and fake_llm.stats.under_way == 5

        wait_until(at_rest, timeout=60, what="five are answered and five under way")
        worker.kill()
        worker.wait(60)
        wait_until(lambda: 0 == fake_llm.stats.under_way, what="the server sees that it is gone")
    held["seconds"] = 0.0
    model_cluster.lapse()

    with model_cluster.worker(*options, app=APP, name="second"):
        model_cluster.result(run_id, timeout=60)

    made = model_cluster.records.autocommit(lambda tx: tx.llm_requests.of_run(run_id))
    states = [one.status for one in made]
    assert 15 == states.count(RequestStatus.COMPLETED) == fake_llm.stats.answered
    assert 5 == states.count(RequestStatus.LOST) == fake_llm.stats.gone
    assert 20 == fake_llm.stats.calls
    view = model_cluster.view(run_id)
    answered = fake_llm.stats.input_tokens + fake_llm.stats.output_tokens
    assert answered == view.tokens == spent(model_cluster).tokens.total
    assert view.cost == spent(model_cluster).cost
    row = model_cluster.records.autocommit(lambda tx: tx.runs.by_id(run_id))
    assert row is not None
    assert (view.tokens, view.cost) == (row.total_tokens, row.total_cost)


def test_the_command_line_shows_what_was_spent(
    model_cluster: Cluster, fake_llm: FakeLlm, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with model_cluster.worker("-P", "threads", "-c", "5", app=APP):
        run_id = model_cluster.submit(flows.articles, texts=["a", "b"])
        model_cluster.result(run_id)
        other = model_cluster.submit(flows.summaries, texts=["a"], model="openai:unpriced")
        model_cluster.result(other)
    shell = Shell(tmp_path_factory.mktemp("shell"), model_cluster.environment)

    by_model = shell.flowq("runs", "cost", "--by", "model")
    by_flow = shell.flowq("runs", "cost", "--json")
    of_run = shell.flowq("runs", "cost", "--run", str(run_id), "--by", "day", "--json")
    as_csv = shell.flowq("runs", "cost", "--by", "metadata.customer,model", "--csv")
    preview = shell.flowq("run", f"{APP}:articles", "-p", 'texts=["a"]', "--preview", "--json").json
    shown = shell.flowq("runs", "show", str(other))
    as_json = shell.flowq("runs", "show", str(run_id), "--json").json

    assert ["openai:fake", "openai:unpriced", "total"] == [
        line.split()[0] for line in by_model.out.splitlines()[1:] if line.strip()
    ]
    assert "The cost of 1 call is unknown" in by_model.err
    assert ["tests.acceptance.articles", "tests.acceptance.summaries"] == [
        line["name"] for line in by_flow.json
    ]
    assert [2, 1] == [line["calls"] for line in by_flow.json]
    assert [0, 1] == [line["unknown"] for line in by_flow.json]
    header, *rows = list(csv.reader(as_csv.out.splitlines()))
    assert header[:4] == ["metadata.customer", "model", "calls", "failed"]
    assert sorted(row[:4] for row in rows) == [
        ["", "openai:fake", "2", "0"],
        ["", "openai:unpriced", "1", "0"],
    ]
    assert (preview["runs"], preview["completed"]) == (1, 1)
    assert preview["median_cost"] == preview["p95_cost"] == by_flow.json[0]["cost"]
    [day] = of_run.json
    assert (2, day["cost"]) == (day["calls"], by_flow.json[0]["cost"])
    assert "openai:unpriced (1 calls, 1 of unknown cost)" in shown.out
    assert [("openai:fake", 2)] == [(one["name"], one["calls"]) for one in as_json["models"]]
    assert day["cost"] == as_json["cost"]
    assert 3 == fake_llm.stats.answered


def test_the_fake_model_is_a_command(shell_folder: Shell) -> None:
    import urllib.request

    with shell_folder.begun("fake-llm", "--port", "0", "--latency", "0.1") as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]})
        request = urllib.request.Request(f"{url}/chat/completions", body.encode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = json.load(answer)
        with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=60) as answer:
            stats = json.load(answer)

    assert "A fake answer to: hi" == said["choices"][0]["message"]["content"]
    assert {"calls": 1, "answered": 1, "under_way": 0, "most_at_once": 1} == {
        name: stats[name] for name in ("calls", "answered", "under_way", "most_at_once")
    }


@pytest.fixture
def shell_folder(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("shell"))
