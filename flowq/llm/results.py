"""The results of steps that call models: content, usage and cost.

They are pydantic models, so the codecs store them like any other result. Later steps read
`result.output_content.title`; in a `def` flow that is a path of a Ref.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from flowq.core.usage import CostStatus

Content = TypeVar("Content")


class StepType(StrEnum):
    """The kinds of steps that are classes."""

    UNSTRUCTURED_LLM = "unstructured_llm"  #: A model's answer as text.
    STRUCTURED_LLM = "structured_llm"  #: A model's answer as an instance of `Outputs`.
    IMAGE_GENERATION = "image_generation"  #: An image, in the results store.
    NEWS_GATHERING = "news_gathering"  #: Items of RSS and Atom feeds.


class _ResultModel(BaseModel):
    model_config = ConfigDict(frozen=True)


class ImageFacts(_ResultModel):
    """An image in the results store.

    Attributes:
        key: Its key in the store; a signed URL expires, the key does not.
        media_type: `image/png` or the like.
        size: The requested size, e.g. `1024x1024`.
        size_bytes: The number of stored bytes.
        revised_prompt: The prompt as the model has changed it, if it did.
    """

    key: str
    media_type: str
    size: str
    size_bytes: int
    revised_prompt: str | None = None


class FailedFeed(_ResultModel):
    """A feed that could not be read."""

    url: str
    error: str


class NewsItem(_ResultModel):
    """An entry of a feed."""

    title: str
    link: str
    summary: str = ""
    published: datetime | None = None  #: None when the feed does not say.
    authors: list[str] = Field(default_factory=list)
    tags: list[str] = Field(default_factory=list)
    source: str = ""  #: Title of the feed, or its address.
    feed: str = ""  #: Address of the feed.
    guid: str = ""


class StepMetadata(_ResultModel, Mapping[str, Any]):
    """The usage of a step and its ids: a mapping whose keys are also attributes."""

    tokens_used: int = 0  #: Input and output tokens of all calls of this attempt.
    cost_estimate: float | None = 0.0  #: USD; None when the cost of a call is unknown, never 0.
    execution_time_ms: int = 0
    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_status: CostStatus = CostStatus.KNOWN
    calls: int = 0  #: Calls of the model; a correction is a call too.
    step_type: StepType = StepType.UNSTRUCTURED_LLM
    prompt_file: str | None = None
    attempt: int = 1  #: From 1.
    retry_attempt: int = 0  #: How many attempts came before it.
    run_id: UUID | None = None
    step_run_id: UUID | None = None
    llm_request_id: UUID | None = None
    image: ImageFacts | None = None
    failed_feeds: list[FailedFeed] = Field(default_factory=list)

    def __getitem__(self, key: str) -> Any:
        if key not in type(self).model_fields:
            raise KeyError(key)
        return getattr(self, key)

    # pydantic models iterate over pairs, mappings over keys.
    def __iter__(self) -> Iterator[str]:  # type: ignore[override]
        return iter(type(self).model_fields)

    def __len__(self) -> int:
        return len(type(self).model_fields)

    def __contains__(self, key: object) -> bool:
        return key in type(self).model_fields

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Mapping):
            return dict(self) == dict(other)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.step_run_id, self.llm_request_id, self.tokens_used))


class StepResult(BaseModel, Generic[Content]):
    """The result of a step.

    Attributes:
        step_name: Name of the step.
        output_content: Text, an instance of the step's `Outputs`, the URL of an image, or a list
            of news items.
        metadata: Its usage.
    """

    model_config = ConfigDict(frozen=True)

    step_name: str
    output_content: Content
    metadata: StepMetadata = Field(default_factory=StepMetadata)
