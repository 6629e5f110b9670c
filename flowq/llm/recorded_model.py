"""A model of pydantic-ai that records its calls; agents call models themselves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models import ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from flowq.llm.prices import bound_of
from flowq.llm.recording import calling, prompt_text, recorded


class RecordedModel(WrapperModel):
    """Records each call of the model that it wraps."""

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Ask the model."""
        return await recorded(
            self.wrapped.system,
            self.wrapped.model_name,
            lambda: self.wrapped.request(messages, model_settings, model_request_parameters),
            lambda: bound_of(self.wrapped, messages, model_settings),
            lambda: prompt_text(messages),
        )

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: Any = None,
    ) -> AsyncGenerator[StreamedResponse]:
        """Ask the model and stream its answer."""
        async with (
            calling(
                self.wrapped.system,
                self.wrapped.model_name,
                lambda: bound_of(self.wrapped, messages, model_settings),
                lambda: prompt_text(messages),
            ) as call,
            self.wrapped.request_stream(
                messages, model_settings, model_request_parameters, run_context
            ) as stream,
        ):
            yield stream
            call.answered(stream.get())
