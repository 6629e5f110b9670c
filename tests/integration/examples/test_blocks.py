"""The documents of `examples/blocks`, run by the real engine."""

import json
from pathlib import Path
from typing import Any

from flowq.blocks.storage.external import read
from flowq.core.states import StepState
from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.documents import play, result
from tests.tools.playing import Stage

FOLDER = Path(__file__).parents[3] / "examples" / "blocks"


def sample(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def test_a_csv_text_is_cleaned_and_branched_on(stage: Stage) -> None:
    view = play(stage, sample("clean_csv"))
    assert result(stage, view)["6"] == 'Many rows: ["Ada,36", "Bob , 17", "Cy , 41"]'
    states = {step.key: step.status for step in view.steps}
    assert states["report few"] is StepState.SKIPPED

    short = sample("clean_csv")
    short["blocks"]["1"]["data"]["content"] = "name,age\nAda,36"
    assert result(stage, play(stage, short))["6"] == 'Only these: ["Ada,36"]'


def test_a_looped_prompt_asks_once_for_each_item(stage: Stage, fake_llm: FakeLlm) -> None:
    view = play(stage, sample("looped_prompt"))
    found = result(stage, view)
    assert ["kettle" in one for one in found["3"]] == [True, False, False]
    assert found["4"] == found["3"][0]
    assert fake_llm.stats.answered == 3


def test_a_block_of_three_megabytes_is_in_the_store(stage: Stage) -> None:
    found = result(stage, play(stage, sample("large_block")))
    metadata = found["4"]["external_metadata"]
    book = read(stage.engine.results.objects, metadata)
    assert len(book) == 3_000_000
    assert found["5"] == book[-100:]
