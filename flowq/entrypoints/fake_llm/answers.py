"""What the server answers, as plain data: the same for the same request, always.

A request that offers tools is answered by calls of them, each once and in their order; one that
asks for a JSON schema by a value that fits it; any other by a sentence that quotes the prompt.
Usage counts four characters as a token.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flowq.entrypoints.fake_llm.instances import instance

#: A JSON document that fits no schema which asks for anything.
WRONG: Final = {"wrong": "this fits no schema"}
_CREATED: Final = 1_767_225_600  # the beginning of 2026: nothing here depends on a clock


@dataclass(frozen=True, slots=True)
class Answer:
    """A message of the assistant, with its usage."""

    text: str | None
    tool: tuple[str, str] | None  #: Name and arguments, as JSON text.
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0  #: Of the input tokens.

    @property
    def usage(self) -> dict[str, Any]:
        """The usage as the API says it."""
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
        }


def tokens(text: str) -> int:
    """Count four characters as a token."""
    return math.ceil(len(text) / 4)


def answer(
    request: Mapping[str, Any], *, wrong: bool, empty: bool, output: int | None, cached: int = 0
) -> Answer:
    """Return the answer to a request for a chat completion.

    Args:
        request: Its body.
        wrong: Whether the answer fits no schema.
        empty: Whether it has no text.
        output: Its tokens, instead of those of its text.
        cached: How many of the input tokens count as cached, at most.
    """
    messages = request.get("messages", [])
    prompt = _prompt(messages)
    text: str | None = None
    tool = _tool(request, messages, prompt)
    if tool is not None:
        tool = (tool[0], json.dumps(WRONG)) if wrong else tool
    elif empty:
        text = ""
    else:
        text = _text(request, prompt, wrong=wrong)
    spoken = text if text is not None else "".join(tool or ())
    written = tokens(spoken) if output is None else output
    read = sum(tokens(_content(each)) for each in messages)
    return Answer(text, tool, read, written, min(cached, read))


def conversation(request: Mapping[str, Any]) -> str:
    """Return what tells a conversation from others: its first message of a user, or its prompt."""
    said = (_content(each) for each in request.get("messages", []) if each.get("role") == "user")
    return next(said, "") or str(request.get("prompt", ""))


def completion(model: str, answer: Answer) -> dict[str, Any]:
    """Return the body of a completion."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.tool:
        message["tool_calls"] = [_tool_call(answer)]
    choice = {"index": 0, "message": message, "finish_reason": _finish(answer)}
    return {
        "id": _id(answer),
        "object": "chat.completion",
        "created": _CREATED,
        "model": model,
        "choices": [choice],
        "usage": answer.usage,
    }


def chunks(model: str, answer: Answer, *, usage: bool) -> Iterator[dict[str, Any]]:
    """Yield the parts of a streamed completion: words, or the call of a tool, then the usage."""
    head = {
        "id": _id(answer),
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**head, "choices": [choice], "usage": None}

    yield chunk({"role": "assistant", "content": None if answer.tool else ""})
    if answer.tool:
        yield chunk({"tool_calls": [{"index": 0, **_tool_call(answer)}]})
    for number, word in enumerate((answer.text or "").split(" ")):
        yield chunk({"content": f" {word}" if number else word})
    yield chunk({}, _finish(answer))
    if usage:
        yield {**head, "choices": [], "usage": answer.usage}


def _tool(request: Mapping[str, Any], messages: list[Any], prompt: str) -> tuple[str, str] | None:
    """Return the tool to be called now, if any."""
    offered = [each["function"] for each in request.get("tools", ()) if "function" in each]
    choice = request.get("tool_choice", "auto")
    if not offered or choice == "none":
        return None
    if isinstance(choice, Mapping):
        wanted = choice["function"]["name"]
        chosen = next(each for each in offered if each["name"] == wanted)
    else:
        called = {
            call["function"]["name"] for each in messages for call in each.get("tool_calls") or ()
        }
        left = [each for each in offered if each["name"] not in called]
        if not left and choice != "required":
            return None
        chosen = (left or offered[-1:])[0]
    return chosen["name"], json.dumps(instance(chosen.get("parameters", {}), prompt))


def _text(request: Mapping[str, Any], prompt: str, *, wrong: bool) -> str:
    form = request.get("response_format") or {}
    if form.get("type") == "json_schema":
        schema = form["json_schema"].get("schema", {})
        return json.dumps(WRONG if wrong else instance(schema, prompt))
    if form.get("type") == "json_object":
        return json.dumps(WRONG)
    return f"A fake answer to: {prompt}"


def _prompt(messages: list[Any]) -> str:
    """Return what the user has said last."""
    spoken = [_content(each) for each in messages if each.get("role") == "user"]
    return " ".join(spoken[-1].split())[:200] if spoken else ""


def _content(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def _tool_call(answer: Answer) -> dict[str, Any]:
    assert answer.tool is not None
    name, arguments = answer.tool
    function = {"name": name, "arguments": arguments}
    return {"id": f"call-{_digest(answer)}", "type": "function", "function": function}


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.tool else "stop"


def _id(answer: Answer) -> str:
    return f"fake-{_digest(answer)}"


def _digest(answer: Answer) -> str:
    return hashlib.sha256(repr(answer).encode()).hexdigest()[:12]
