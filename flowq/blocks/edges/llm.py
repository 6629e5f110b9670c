"""The edges `llm` and `generator`: one chat with a model, recorded with its tokens and cost.

The operator configures the server and the key. A document names only a model: with a server of its
own it could collect the operator's key and the contents of users.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AliasChoices, Field
from pydantic_core import PydanticCustomError

from flowq.blocks.edges.settings import EdgeSettings, Flaw, Settings, flaws, foreign_labels, own
from flowq.blocks.edges.texts import parsed
from flowq.blocks.errors import Code, EdgeFailed
from flowq.blocks.placeholders import replaced
from flowq.llm.text import chat

#: From a setting of a document to pydantic-ai's.
_SETTINGS: Final = {
    "temperature": "temperature",
    "max_tokens": "max_tokens",
    "top_p": "top_p",
    "seed": "seed",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
}
_FOREIGN: Final = ("base_url", "api_base", "api_key")
_ANSWER: Final = "Answer the queries with the help of the documents."
_QUERIES: Final = ("queries", "query_ids", "query_id")
_DOCS: Final = ("docs", "doc_ids", "document_ids")


async def llm(config: dict[str, Any], contents: dict[str, Any]) -> Any:
    """Return what a model answers to the messages of an edge.

    Raises:
        EdgeFailed: a message names no input, or a history is none.
        ModelUnavailable: the model cannot be asked now.
        ModelRefused: it cannot be asked at all.
    """
    history = _messages(replaced(config.get("chat_histories") or [], contents))
    messages = [*history, *_messages(replaced(config["messages"], contents))]
    return await _ask(config, messages)


async def generator(config: dict[str, Any], contents: dict[str, Any]) -> Any:
    """Return what a model answers to queries with the help of documents; as `llm`."""
    queries = _of_blocks(config, contents, *_QUERIES)
    documents = _of_blocks(config, contents, *_DOCS)
    parts = [_numbered("Query", queries), _numbered("Document", documents)]
    asked = "\n\n".join(part for part in parts if part)
    system = str(replaced(config.get("system_prompt") or _ANSWER, contents))
    messages = [{"role": "system", "content": system}, {"role": "user", "content": asked}]
    return await _ask(config, messages)


def _blocks(value: Any) -> Any:
    if value is not None and not isinstance(value, str | list | dict):
        raise PydanticCustomError("blocks", "it is no list of blocks")
    return value


#: Ids of blocks: a list, the keys of a dict, or one text.
Blocks = Annotated[Any, AfterValidator(_blocks)]


class Chat(EdgeSettings):
    """Settings of both edges."""

    model: str | None = None
    temperature: float | None = None
    max_tokens: float | None = None
    top_p: float | None = None
    seed: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stream: Any = True
    structured_output: Any = False


class Llm(Chat):
    """Settings of `llm`."""

    messages: Annotated[list[Any], Field(min_length=1)]
    chat_histories: Any = None


class Message(Settings):
    """One message."""

    role: Literal["system", "developer", "user", "assistant"] = "user"
    content: Any


class Generator(Chat):
    """Settings of `generator`; each list has three names."""

    queries: Blocks = Field(None, validation_alias=AliasChoices(*_QUERIES))
    docs: Blocks = Field(None, validation_alias=AliasChoices(*_DOCS))
    system_prompt: Any = None


def check(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of an edge."""
    yield from _common(Llm, config)
    messages, labels = config.get("messages"), config["inputs"].values()
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        yield from flaws(Message, message, ("messages", number))
    for name in ("messages", "chat_histories"):
        yield from foreign_labels(config.get(name), labels, (name,))


def check_generator(config: Mapping[str, Any]) -> Iterator[Flaw]:
    """Yield what is wrong with the settings of a generator."""
    wrong = list(_common(Generator, config))
    yield from wrong
    if any(not flaw.warns for flaw in wrong):
        return
    if not any(config.get(name) for name in _QUERIES):
        yield Flaw(("queries",), "it names no blocks of queries")
    for names in (_QUERIES, _DOCS):
        for block in _ids(config, *names):
            if block not in config["inputs"]:
                yield Flaw((names[0],), f"{block!r} is no input of this edge")
    prompt = config.get("system_prompt")
    yield from foreign_labels(prompt, config["inputs"].values(), ("system_prompt",))


def _common(model: type[Chat], config: Mapping[str, Any]) -> Iterator[Flaw]:
    for name in _FOREIGN:
        if config.get(name):
            text = "a document cannot say where a model is asked, nor with which key"
            yield Flaw((name,), text)
    yield from flaws(model, own(config))
    yield from flaws(Settings, config.get("extra_configs") or {}, ("extra_configs",))


async def _ask(config: Mapping[str, Any], messages: Sequence[Mapping[str, str]]) -> Any:
    name = str(config.get("model") or "")
    said = await chat(
        messages,
        # Other services write `openai/gpt-5-mini`; flowq, like pydantic-ai, a colon.
        model=name if ":" in name else name.replace("/", ":", 1),
        settings={to: config[of] for of, to in _SETTINGS.items() if config.get(of) is not None},
        stream=bool(config.get("stream", True)),
        where="the edge",
    )
    if not config.get("structured_output"):
        return said
    found = parsed(_unfenced(said))
    return said if found is None else found


def _unfenced(said: str) -> str:
    """Return an answer without the fence of a code block."""
    text = said.strip()
    if text.startswith("```") and text.endswith("```"):
        return text.removesuffix("```").partition("\n")[2]
    return text


def _messages(given: Any) -> list[dict[str, str]]:
    if not isinstance(given, list) or not all(
        isinstance(one, Mapping) and "content" in one for one in given
    ):
        raise EdgeFailed(Code.EDGE, "the messages are no list of {role, content}")
    return [
        {"role": str(one.get("role", "user")), "content": _text(one["content"])} for one in given
    ]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def _ids(config: Mapping[str, Any], *names: str) -> list[str]:
    """Return the ids that a setting names: as a list, as the keys of a dict, or as one text."""
    found: Any = next((config[name] for name in names if config.get(name)), [])
    return [found] if isinstance(found, str) else [str(one) for one in found]


def _of_blocks(config: Mapping[str, Any], contents: Mapping[str, Any], *names: str) -> list[str]:
    """Return the contents of blocks as texts; empty lines separate the items of a list."""
    found = [contents[config["inputs"][block]] for block in _ids(config, *names)]
    return ["\n\n".join(map(_text, one)) if isinstance(one, list) else _text(one) for one in found]


def _numbered(what: str, texts: Sequence[str]) -> str:
    if len(texts) < 2:
        return "".join(texts)
    return "\n\n".join(f"{what} {number}: {one}" for number, one in enumerate(texts, start=1))
