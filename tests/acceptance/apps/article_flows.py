"""The flow engine's examples, as classes: `celery -A tests.acceptance.apps.article_flows`."""

from typing import Any

from pydantic import BaseModel

import flowq
from flowq import BaseFlow
from tests.tools.llm_steps import Article, Summarise

app = flowq.celery_app()


class ArticleFlow(BaseFlow):
    """Summarises a text and makes an article of the summary."""

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
            "has_provider": ["provider" in one.metadata for one in (summary, article)],
        }


class MasterFlow(BaseFlow):
    """Makes an article in a flow of its own, and sums up its title."""

    flow_name = "master_flow"

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        article = await ArticleFlow().execute({"text": inputs["text"]})
        more = await Summarise().execute({"text": article["title"]})
        return {
            "article": article,
            "total_tokens": article["total_tokens"] + more.metadata["tokens_used"],
            "total_cost": article["total_cost"] + more.metadata["cost_estimate"],
        }
