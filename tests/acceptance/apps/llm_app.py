"""What `celery -A tests.acceptance.apps.llm_app` finds: flows that call models."""

from typing import Any

import flowq
from flowq import flow
from tests.tools.llm_steps import Article, Summarise

app = flowq.celery_app()


@flow(name="tests.acceptance.summaries")
def summaries(texts: list[str], model: str) -> Any:
    """Summarise every text, all at once."""
    return Summarise(model=model).map(texts)


@flow(name="tests.acceptance.articles")
def articles(texts: list[str]) -> Any:
    """Make an article of every text."""
    return Article().map(texts)
