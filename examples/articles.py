"""Articles from raw text: extract, summarise, and, if asked, a thumbnail. Programs and models.

    flowq fake-llm &                                             # or a key: OPENAI_API_KEY=…
    export FLOWQ_MODEL=openai:fake FLOWQ_IMAGE_MODEL=openai:fake
    export FLOWQ_OPENAI_BASE_URL=http://127.0.0.1:8399/v1
    celery -A examples.articles worker --pool threads            # a worker, in one terminal

and from Python:

    run = MasterContentFlow.enqueue({"url": "https://example.org/", "thumbnail": True})
    print(run.result(timeout=60))

`ArticleProcessingFlow` stands on its own, and `MasterContentFlow` awaits it: a child run with its
own records. A crash costs at most the call that was under way: what is recorded is not paid twice.
"""

import html
import re
import urllib.request
from typing import Any

from pydantic import BaseModel, Field, model_validator

import flowq
from flowq import BaseFlow, ImageStep, StructuredStep, UnstructuredStep, step

app = flowq.celery_app()

_HIDDEN = re.compile(r"(?is)<(script|style|head|nav|footer)\b.*?</\1>")
_TAG = re.compile(r"(?s)<[^>]*>")


# --- steps ----------------------------------------------------------------------------------------


@step(retries=2, timeout=60, name="examples.fetch_page")
def fetch_page(url: str) -> str:
    """Return the text of a page, without what only a browser needs."""
    request = urllib.request.Request(url, headers={"User-Agent": "flowq example"})
    with urllib.request.urlopen(request, timeout=30) as response:
        page = response.read(5_000_000).decode(errors="replace")
    text = html.unescape(_TAG.sub(" ", _HIDDEN.sub(" ", page)))
    return " ".join(text.split())


class ExtractContent(UnstructuredStep):
    """Takes the article out of what surrounds it."""

    step_name = "extract_content"
    prompt_file = "extract_content.txt"

    class Inputs(BaseModel):
        """The raw text of a page."""

        raw: str = Field(min_length=1)


class SummariseArticle(StructuredStep):
    """Says what an article is about."""

    step_name = "summarise_article"
    prompt_file = "summarise_article.txt"

    class Inputs(BaseModel):
        """The article, and how long its summary may be."""

        content: str
        words: int = Field(default=80, gt=0)

    class Outputs(BaseModel):
        """What is asked of the model."""

        title: str
        summary: str
        key_points: list[str]


class CreateThumbnail(ImageStep):
    """Draws a picture for an article."""

    step_name = "create_thumbnail"
    prompt_file = "create_thumbnail.txt"

    class Inputs(BaseModel):
        """The article, in a few words."""

        title: str
        key_points: list[str] = []
        size: str = "1024x1024"


# --- flows ----------------------------------------------------------------------------------------


class ArticleProcessingFlow(BaseFlow):
    """Makes an article of raw text: its content, title, summary and key points."""

    flow_name = "article_processing"

    class Inputs(BaseModel):
        """The text, and how long its summary may be."""

        raw: str = Field(min_length=1)
        words: int = Field(default=80, gt=0)

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        extracted = await ExtractContent().execute({"raw": inputs["raw"]})
        described = await SummariseArticle().execute(
            {"content": extracted.output_content, "words": inputs["words"]}
        )
        article = described.output_content
        return {
            "content": extracted.output_content,
            "title": article.title,
            "summary": article.summary,
            "key_points": article.key_points,
            "tokens_used": extracted.metadata.tokens_used + described.metadata.tokens_used,
        }


class MasterContentFlow(BaseFlow):
    """Fetches a page if need be, makes an article of it, and perhaps a thumbnail."""

    flow_name = "master_content"

    class Inputs(BaseModel):
        """A text, or the address of a page."""

        text: str | None = None
        url: str | None = None
        words: int = Field(default=80, gt=0)
        thumbnail: bool = False

        @model_validator(mode="after")
        def _one_source(self) -> "MasterContentFlow.Inputs":
            if (self.text is None) == (self.url is None):
                raise ValueError("give either a text or a url")
            return self

    async def _execute_flow_logic(self, inputs: dict[str, Any]) -> dict[str, Any]:
        raw = inputs["text"]
        if raw is None:
            fetched: Any = fetch_page(inputs["url"])
            raw = await fetched
        article = await ArticleProcessingFlow().execute({"raw": raw, "words": inputs["words"]})
        if not inputs["thumbnail"]:
            return {**article, "thumbnail": None}
        picture = await CreateThumbnail().execute(
            {"title": article["title"], "key_points": article["key_points"]}
        )
        return {**article, "thumbnail": picture.output_content}
