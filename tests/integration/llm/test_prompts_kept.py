"""The prompt and the answer of a call are kept with it: of steps, as far as a setting allows."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from flowq import bootstrap
from flowq.adapters.records.sql.tables import LlmRequest
from flowq.core.errors import InvalidAnswer
from flowq.llm import recording
from flowq.llm.text import chat
from tests.integration.llm.test_usage import Server, server
from tests.tools.llm_steps import Article, Ask, Stream

__all__ = ["server"]


def kept() -> list[tuple[str | None, str | None]]:
    engine = create_engine(bootstrap.settings().database_url)
    with engine.connect() as connection:
        query = select(LlmRequest.prompt, LlmRequest.answer).order_by(LlmRequest.id)
        found = [(row[0], row[1]) for row in connection.execute(query)]
    engine.dispose()
    return found


@pytest.mark.parametrize("step", [Ask, Stream], ids=["whole", "stream"])
def test_prompt_and_answer_of_a_step_are_kept(server: Server, step: type[Ask]) -> None:
    asyncio.run(step().execute({"question": "why\0?"}))

    [(prompt, answer)] = kept()
    assert prompt is not None
    assert prompt.startswith("[instructions]\nBe brief.\n\n[user]\n")
    assert prompt.endswith("why␀?")
    assert answer == "hello"


def test_every_call_of_a_structured_step_has_its_own(server: Server) -> None:
    with pytest.raises(InvalidAnswer):
        asyncio.run(Article().execute({"text": "Winter"}))  # "hello" is no article

    found = kept()
    assert len(found) > 1
    assert all(answer == "hello" for _, answer in found)
    assert all("Winter" in (prompt or "") for prompt, _ in found)
    assert len(found[-1][0] or "") > len(found[0][0] or "")  # with the correction


def test_messages_that_may_hold_secrets_are_not_kept(server: Server) -> None:
    asked = [{"role": "user", "content": "the password is 1234"}]

    asyncio.run(chat(asked, model="", settings={}, stream=False, where="a tool"))

    assert kept() == [(None, None)]


def test_setting_keeps_none(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLOWQ_KEEP_PROMPTS", "0")
    bootstrap.settings.cache_clear()

    asyncio.run(Ask().execute({"question": "why"}))

    assert kept() == [(None, None)]


def test_long_prompt_keeps_its_end_and_a_file_its_size() -> None:
    from pydantic_ai.messages import (
        BinaryContent,
        ModelRequest,
        ModelResponse,
        TextPart,
        ToolCallPart,
        UserPromptPart,
    )

    content: list[Any] = ["x" * recording.MAX_KEPT, BinaryContent(b"1234", media_type="image/png")]
    text = recording.prompt_text([ModelRequest(parts=[UserPromptPart(content)])])
    assert text.endswith("(image/png, 4 bytes)")
    assert text.startswith("(28 characters before)\n")

    answer = ModelResponse(parts=[TextPart("y" * 40_000), ToolCallPart("find", {"a": 1})])
    assert recording.answer_text(answer).endswith("more characters)")
    assert recording.answer_text(ModelResponse(parts=answer.parts[1:])) == 'find({"a":1})'
