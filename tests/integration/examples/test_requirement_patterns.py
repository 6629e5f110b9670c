"""The flow engine's own examples, word for word: classes, nested flows, totals of metadata."""

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from flowq import BaseFlow
from flowq.authoring.definitions.flows import Flow
from flowq.llm.results import StepMetadata
from tests.tools.llm_steps import Article, Summarise
from tests.tools.playing import Stage

pytestmark = pytest.mark.usefixtures("fake_llm")


class ArticleFlow(BaseFlow):
    flow_name = "article_flow"

    class Inputs(BaseModel):
        text: str

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        summary = await Summarise().execute({"text": inputs["text"]})
        article = await Article().execute({"text": summary.output_content})
        return {
            "title": article.output_content.title,
            "total_tokens": summary.metadata["tokens_used"] + article.metadata["tokens_used"],
            "total_cost": summary.metadata["cost_estimate"] + article.metadata["cost_estimate"],
            "metadata": [dict(summary.metadata), dict(article.metadata)],
        }


class OuterFlow(BaseFlow):
    flow_name = "outer_flow"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        inner = await ArticleFlow().execute({"text": inputs["text"]})
        more = await Summarise().execute({"text": inner["title"]})
        return {"inner": inner, "tokens": inner["total_tokens"] + more.metadata["tokens_used"]}


def test_two_steps_and_a_nested_flow(stage: Stage) -> None:
    outer: Flow[..., Any] = OuterFlow.flow
    played = stage.play(outer, text="A long text")

    result = played.result()

    inner = result["inner"]
    assert inner["total_tokens"] > 0
    assert inner["total_cost"] > 0
    assert result["tokens"] > inner["total_tokens"]
    assert {
        *("tokens_used", "cost_estimate", "execution_time_ms", "provider", "model"),
        *("step_run_id", "llm_request_id", "step_type", "prompt_file", "retry_attempt"),
    } <= set(inner["metadata"][0])
    assert inner["metadata"][1]["step_type"] == "structured_llm"
    assert inner["metadata"][0]["retry_attempt"] == 0
    assert played.view.flow_name == "outer_flow"


def test_metadata_is_a_mapping_with_attributes_beside() -> None:
    metadata = StepMetadata(tokens_used=3, model="m")

    assert isinstance(metadata, Mapping)
    assert metadata["tokens_used"] == metadata.tokens_used == metadata.get("tokens_used") == 3
    assert metadata.get("nothing", 7) == 7
    assert "model" in metadata
    assert "nothing" not in metadata
    assert list(metadata) == list(metadata.keys()) == list(dict(metadata))
    assert len(metadata) == len(dict(metadata)) == len({**metadata})
    assert dict(metadata.items())["model"] == "m"
    assert metadata == dict(metadata)
    assert StepMetadata.model_validate_json(metadata.model_dump_json()) == metadata
    with pytest.raises(KeyError):
        metadata["nothing"]
