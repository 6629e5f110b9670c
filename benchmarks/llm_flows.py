"""Flows of many calls of a model at once, for the benchmark `models`."""

from typing import Any

import flowq
from flowq import flow
from tests.tools.llm_steps import Summarise

app = flowq.celery_app()


class SummariseFew(Summarise):
    """The same, fifty at once."""

    step_name = "bench_summarise_few"
    prompts_folder = "../tests/tools/prompts"
    concurrency = 50


@flow(name="bench.summaries")
def summaries(texts: list[str]) -> Any:
    """Summarise every text, all at once."""
    return Summarise(model="openai:fake-1s").map(texts)


@flow(name="bench.few_summaries")
def few_summaries(texts: list[str]) -> Any:
    """Summarise every text, fifty at once."""
    return SummariseFew(model="openai:fake-1s").map(texts)
