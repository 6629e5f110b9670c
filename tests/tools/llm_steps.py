"""Steps that call models, for tests."""

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, Field

from flowq import ImageStep, NewsStep, StructuredStep, UnstructuredStep
from flowq.core.retries import RetryPolicy


class Summarise(UnstructuredStep):
    """Summarises a text."""

    step_name = "tests_summarise"
    prompt_file = "summarise.txt"

    class Inputs(BaseModel):
        text: str


class Ask(UnstructuredStep):
    """Asks, and does not wait long between attempts."""

    step_name = "tests_ask"
    prompt_file = "ask.txt"
    instructions = "Be brief."
    retry = RetryPolicy(max_attempts=3, initial_delay=timedelta(milliseconds=10))

    class Inputs(BaseModel):
        question: str


class Stream(Ask):
    step_name = "tests_stream"
    stream = True


class Article(StructuredStep):
    """Makes an article of a text."""

    step_name = "tests_article"
    prompt_file = "summarise.txt"

    class Inputs(BaseModel):
        text: str = Field(min_length=1)

    class Outputs(BaseModel):
        title: str
        words: int
        points: list[str]


class NativeArticle(Article):
    step_name = "tests_native_article"
    output_mode = "native"


class Picture(ImageStep):
    step_name = "tests_picture"


class CachedPicture(ImageStep):
    step_name = "tests_cached_picture"
    cache = 3600


class News(NewsStep):
    step_name = "tests_news"


def text_of(prompt: str) -> str:
    """What the fake model answers."""
    return f"A fake answer to: {prompt}"


def tokens_of(*texts: str) -> int:
    """How many tokens the fake model counts in texts."""
    return sum(-(-len(text) // 4) for text in texts)


def content(result: Any) -> Any:
    """The content of a result, from an instance or from plain data."""
    return result["output_content"] if isinstance(result, dict) else result.output_content


class Cached(UnstructuredStep):
    step_name = "tests_cached"
    prompt_file = "ask.txt"
    cache = 3600

    class Inputs(BaseModel):
        question: str


class Picky(UnstructuredStep):
    step_name = "tests_picky"
    prompt_file = "ask.txt"
    model = "openai:fake"
    concurrency = 1

    class Inputs(BaseModel):
        question: str
