"""The four kinds of steps that are classes: text, structured answers, images and news.

Each one documents what its subclasses define, and how it runs. Their common part is in
`base_steps`; they call `flowq.llm`.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

from pydantic import BaseModel, Field

from flowq.authoring.definitions.base_steps import BaseStep
from flowq.core.errors import IncompleteStep
from flowq.llm.feeds import gather
from flowq.llm.images import image
from flowq.llm.models import chosen
from flowq.llm.recording import Spending
from flowq.llm.results import NewsItem, StepType
from flowq.llm.structured import Mode, structured
from flowq.llm.text import text

#: Hours; no feed has older entries.
_ANY_AGE: Final = 24.0 * 366 * 10_000


class _Prompted(BaseStep):
    """A step that calls a model with a prompt from a file.

    Attributes:
        instructions: The system prompt.
    """

    instructions: ClassVar[str | None] = None

    @classmethod
    def _complete(cls) -> None:
        if cls.prompt_file is None:
            raise IncompleteStep(
                f"step {cls.step_name!r} must define a prompt_file",
                hint='prompt_file = "summarise.txt", a template in the folder `prompts`',
            )
        super()._complete()

    def _settings(self) -> dict[str, Any]:
        return {**self.model_settings, **self._model_settings}


class UnstructuredStep(_Prompted):
    """A step whose `output_content` is a model's text.

    Attributes:
        stream: Whether the text is streamed to readers of the run's events.
    """

    step_type = StepType.UNSTRUCTURED_LLM
    stream: ClassVar[bool] = False

    @classmethod
    def _content_type(cls) -> Any:
        return str

    async def _run(self, inputs: BaseModel, spent: Spending) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 - what all kinds get
        said = await text(
            self._prompted(inputs),
            model=chosen("text", self._model, self.model),
            instructions=self.instructions,
            settings=self._settings(),
            stream=self.stream,
            where=f"step {self.step_name!r}",
        )
        return said, {}


class StructuredStep(_Prompted):
    """A step whose `output_content` is an instance of its `Outputs`.

    Attributes:
        corrections: How often the model may correct an invalid answer; each correction is a call.
        output_mode: How the schema is sent: `tool`, `native` (the provider's JSON schema mode) or
            `prompted` (in words).
    """

    step_type = StepType.STRUCTURED_LLM
    Outputs: ClassVar[type[BaseModel]]
    corrections: ClassVar[int] = 2
    output_mode: ClassVar[Mode] = "tool"

    @classmethod
    def _complete(cls) -> None:
        outputs = getattr(cls, "Outputs", None)
        if not (isinstance(outputs, type) and issubclass(outputs, BaseModel)):
            raise IncompleteStep(
                f"step {cls.step_name!r} must define Outputs class",
                hint=f"class {cls.__name__}: class Outputs(BaseModel): …",
            )
        super()._complete()

    @classmethod
    def _content_type(cls) -> Any:
        return cls.Outputs

    async def _run(self, inputs: BaseModel, spent: Spending) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 - what all kinds get
        answer = await structured(
            self._prompted(inputs),
            self.Outputs,
            model=chosen("text", self._model, self.model),
            instructions=self.instructions,
            settings=self._settings(),
            mode=self.output_mode,
            corrections=self.corrections,
            where=f"step {self.step_name!r}",
        )
        return answer, {}


class ImageStep(BaseStep):
    """A step that makes an image: `output_content` is its URL, `metadata.image` describes it.

    The prompt is the input `prompt`, or the template of a `prompt_file`. The inputs `size` and
    `quality` override the class's.

    Attributes:
        size: Pixels, `1024x1024`, or `auto`.
        quality: `standard`, `hd`, or a name that the model knows.
    """

    step_type = StepType.IMAGE_GENERATION
    size: ClassVar[str] = "1024x1024"
    quality: ClassVar[str] = "standard"

    class Inputs(BaseModel):
        """The default inputs of an image step."""

        prompt: str = Field(min_length=1)
        size: str = "1024x1024"
        quality: str = "standard"

    @classmethod
    def _complete(cls) -> None:
        super()._complete()
        if cls.prompt_file is None and "prompt" not in cls.Inputs.model_fields:
            raise IncompleteStep(
                f"ImageStep requires 'prompt' in inputs: step {cls.step_name!r} has neither that "
                "nor a prompt_file",
                hint="class Inputs(BaseModel): prompt: str",
            )

    @classmethod
    def _content_type(cls) -> Any:
        return str

    async def _run(self, inputs: BaseModel, spent: Spending) -> tuple[Any, dict[str, Any]]:
        prompt = self._prompted(inputs) if self._prompt else getattr(inputs, "prompt", "")
        url, facts = await image(
            str(prompt),
            size=str(getattr(inputs, "size", self.size)),
            quality=str(getattr(inputs, "quality", self.quality)),
            model=chosen("image", self._model, self.model),
            settings={**self.model_settings, **self._model_settings},
            spent=spent,
        )
        return url, {"image": facts}


class NewsStep(BaseStep):
    """A step that reads RSS and Atom feeds: `output_content` is a list of `NewsItem`, newest first.

    A feed that cannot be read does not fail the step: it is in `metadata.failed_feeds`.

    Attributes:
        feeds: URLs, unless the inputs have others.
        feed_timeout: Timeout of each feed in seconds.
        headers: Additional headers for the servers, by name.
    """

    step_type = StepType.NEWS_GATHERING
    feeds: ClassVar[Iterable[str]] = ()
    feed_timeout: ClassVar[float] = 20.0
    headers: ClassVar[Mapping[str, str]] = {}

    class Inputs(BaseModel):
        """The default inputs of a news step."""

        feeds: list[str] = Field(default_factory=list)
        hours: float | None = Field(default=24.0, gt=0)  #: None: all entries of the feeds.
        limit: int = Field(default=50, ge=1)

    @classmethod
    def _content_type(cls) -> Any:
        return list[NewsItem]

    async def _run(self, inputs: BaseModel, spent: Spending) -> tuple[Any, dict[str, Any]]:  # noqa: ARG002 - what all kinds get
        hours = getattr(inputs, "hours", None)
        items, failed = await gather(
            list(getattr(inputs, "feeds", None) or self.feeds),
            window=timedelta(hours=min(hours, _ANY_AGE)) if hours else None,
            limit=getattr(inputs, "limit", None),
            timeout=self.feed_timeout,
            headers=self.headers,
        )
        return items, {"failed_feeds": failed}
