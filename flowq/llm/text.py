"""Text from a model, whole or streamed.

One prompt and one answer need no agent. A call without an agent takes a third of the CPU time,
which matters when hundreds of steps share a process.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from flowq.core.errors import InvalidAnswer
from flowq.llm.caller import current_caller
from flowq.llm.models import chosen, once, text_model
from flowq.llm.prices import bound_of
from flowq.llm.recording import calling, prompt_text, recorded, spending
from flowq.llm.streams import open_stream


async def text(
    prompt: str,
    *,
    model: Any,
    instructions: str | None,
    settings: dict[str, Any],
    stream: bool,
    where: str,
) -> str:
    """Ask a model and return its text.

    Args:
        model: Its name, or an instance.
        instructions: The system prompt.
        settings: Temperature and the like, by pydantic-ai's names.
        stream: Whether readers of the events get the text while it is generated.
        where: Names the step, for errors.

    Raises:
        ModelUnavailable: it cannot be asked now.
        ModelRefused: it cannot be asked at all.
        InvalidAnswer: it has answered without any text.
    """
    found = text_model(model)
    from pydantic_ai.messages import ModelRequest, UserPromptPart  # noqa: PLC0415 - see the package

    messages = [ModelRequest(parts=[UserPromptPart(prompt)], instructions=instructions)]
    return await _answer(found, messages, settings=settings, stream=stream, where=where, keeps=True)


async def chat(
    messages: Sequence[Mapping[str, str]],
    *,
    model: str,
    settings: dict[str, Any],
    stream: bool,
    where: str,
) -> str:
    """Send messages to a model and return its answer; the call counts for the running step.

    The messages are not kept with the call: those of a playbook may hold secrets.

    Args:
        messages: Each with a `role` and its `content`, the oldest first.
        model: Its name; if it is empty, that of FLOWQ_MODEL.
        settings: Temperature and the like, by pydantic-ai's names.
        stream: Whether readers of the events get the text while it is generated.
        where: Names the step, for errors.

    Raises:
        ModelUnavailable: it cannot be asked now.
        ModelRefused: it cannot be asked at all.
        InvalidAnswer: it has answered without any text.
    """
    found = text_model(chosen("text", model))
    context, calls = await current_caller(where)
    name = where if context is None else context.key
    with spending(calls):
        return await _answer(
            found, _requests(messages), settings=settings, stream=stream, where=f"step {name!r}"
        )


def _requests(messages: Sequence[Mapping[str, str]]) -> list[Any]:
    from pydantic_ai.messages import (  # noqa: PLC0415 - see the package
        ModelRequest,
        ModelResponse,
        SystemPromptPart,
        TextPart,
        UserPromptPart,
    )

    made: list[Any] = []
    for message in messages:
        content = message["content"]
        if message["role"] == "assistant":
            made.append(ModelResponse(parts=[TextPart(content)]))
        elif message["role"] == "user":
            made.append(ModelRequest(parts=[UserPromptPart(content)]))
        else:
            made.append(ModelRequest(parts=[SystemPromptPart(content)]))
    return made


async def _answer(
    model: Any,
    messages: Any,
    *,
    settings: dict[str, Any],
    stream: bool,
    where: str,
    keeps: bool = False,
) -> str:
    """Send messages of pydantic-ai to one of its models and return the answer; raises as `text`.

    Args:
        keeps: Whether the messages and the answer may be kept with the call.
    """
    from pydantic_ai.direct import model_request  # noqa: PLC0415 - see the package

    asked = once(model, settings)
    prompt = partial(prompt_text, messages) if keeps else None
    if stream:
        answer = await _streamed(model, messages, asked, prompt)
    else:
        answer = await recorded(
            model.system,
            model.model_name,
            lambda: model_request(model, messages, model_settings=asked),
            lambda: bound_of(model, messages, asked),
            prompt,
        )
    said = answer.text
    if not said:
        raise InvalidAnswer(
            f"{where}: {model.system}:{model.model_name} answered without text"
            f" (finish reason: {answer.finish_reason or 'unknown'})",
            hint="it may have refused, or max_tokens may be too small",
        )
    return str(said)


async def _streamed(model: Any, messages: Any, settings: Any, prompt: Any) -> Any:
    from pydantic_ai.direct import model_request_stream  # noqa: PLC0415 - see the package
    from pydantic_ai.messages import (  # noqa: PLC0415
        PartDeltaEvent,
        PartStartEvent,
        TextPart,
        TextPartDelta,
    )

    with open_stream() as write:
        async with (
            calling(
                model.system,
                model.model_name,
                lambda: bound_of(model, messages, settings),
                prompt,
            ) as call,
            model_request_stream(model, messages, model_settings=settings) as stream,
        ):
            async for event in stream:
                if isinstance(event, PartStartEvent) and isinstance(event.part, TextPart):
                    part = event.part.content
                elif isinstance(event, PartDeltaEvent) and isinstance(event.delta, TextPartDelta):
                    part = event.delta.content_delta
                else:
                    continue
                if part:
                    write(part)
            answer = stream.get()
            call.answered(answer)
    return answer
