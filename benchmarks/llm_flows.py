"""A flow of many calls of a model at once, for the benchmark `llm`."""

from typing import Any

import flowq
from flowq import flow
from tests.llm_steps import Summarise

app = flowq.celery_app()


@flow(name="bench.summaries")
def summaries(texts: list[str], model: str) -> Any:
    """Summarise every text, all at once."""
    return Summarise(model=model).map(texts)
