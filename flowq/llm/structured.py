"""Answers that fit a pydantic model, with rounds in which the model corrects itself.

pydantic-ai's agent sends the schema to the model, validates the answer, and sends the errors back.
Each round is a call of its own, recorded and billed.
"""

import json
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from flowq.core.errors import InvalidAnswer
from flowq.llm.models import kept, once, text_model

Answer = TypeVar("Answer", bound=BaseModel)

#: How the schema is sent: as a tool that the model has to call, in the JSON schema mode of the
#: provider, or in the prompt.
Mode = Literal["tool", "native", "prompted"]

_LAST = 4000


async def structured(
    prompt: str,
    outputs: type[Answer],
    *,
    model: Any,
    instructions: str | None,
    settings: dict[str, Any],
    mode: Mode,
    corrections: int,
    where: str,
) -> Answer:
    """Ask a model and return its answer as an instance of `outputs`.

    Args:
        outputs: The type of the answer.
        model: Its name, or an instance.
        instructions: The system prompt.
        settings: Temperature and the like, by pydantic-ai's names.
        mode: How the schema is sent.
        corrections: How often it may correct itself.
        where: Names the step, for errors.

    Raises:
        ModelUnavailable: it cannot be asked now.
        ModelRefused: it cannot be asked at all.
        InvalidAnswer: its last answer does not fit.
    """
    found = text_model(model)
    from pydantic_ai import capture_run_messages  # noqa: PLC0415 - see the package
    from pydantic_ai.exceptions import UnexpectedModelBehavior  # noqa: PLC0415

    def make() -> Any:
        return _agent(found, outputs, instructions, mode, corrections)

    agent = kept(("agent", outputs, id(found), instructions, mode, corrections), make)
    with capture_run_messages() as messages:
        try:
            result = await agent.run(prompt, model_settings=once(found, settings))
        except UnexpectedModelBehavior as error:
            raise InvalidAnswer(
                f"{where}: the answer of {found.system}:{found.model_name} does not fit its "
                f"Outputs, after {corrections} corrections: {_why(error)}",
                hint="flowq runs show ID --traceback shows the last answer",
                details={"last_answer": last_answer(messages)},
            ) from error
    answer: Answer = result.output
    return answer


def _agent(model: Any, outputs: Any, instructions: str | None, mode: Mode, corrections: int) -> Any:
    from pydantic_ai import Agent, NativeOutput, PromptedOutput  # noqa: PLC0415 - see the package

    from flowq.llm.recorded_model import RecordedModel  # noqa: PLC0415

    forms: dict[str, Any] = {"native": NativeOutput, "prompted": PromptedOutput}
    return Agent(
        RecordedModel(model),
        output_type=forms[mode](outputs) if mode in forms else outputs,
        instructions=instructions,
        retries=corrections,
    )


def last_answer(messages: Any) -> str:
    """Return the last answer of the model, truncated if it is long."""
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart  # noqa: PLC0415

    answers = [each for each in messages if isinstance(each, ModelResponse)]
    if not answers:
        return ""
    said = []
    for part in answers[-1].parts:
        if isinstance(part, ToolCallPart):
            said.append(part.args if isinstance(part.args, str) else json.dumps(part.args))
        elif isinstance(part, TextPart):
            said.append(part.content)
    text = "\n".join(said).encode(errors="backslashreplace").decode()
    return text if len(text) <= _LAST else f"{text[:_LAST]}…"


def _why(error: Exception) -> str:
    """Return what was wrong, from the innermost cause: the outer error only counts the rounds."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return " ".join(str(inner).split())[:500]
