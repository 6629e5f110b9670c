"""Tools of a few lines: `noop`, `secrets`, `step` and `llm`."""

import asyncio
import json
from typing import Any

from jsonschema import SchemaError, validate
from jsonschema import ValidationError as Misfit
from pydantic import ValidationError
from pydantic_core import to_jsonable_python

from flowq.core.errors import InvalidFlow
from flowq.core.names import is_own
from flowq.engine.registry.registry import registry
from flowq.playbooks.control.joining import ARRIVALS
from flowq.playbooks.document.grammar.tools import LLM_SETTINGS
from flowq.playbooks.running.kinds.call import Call, failed


async def noop(call: Call) -> Any:
    """Return the arguments."""
    return dict(call.args)


async def secrets(call: Call) -> Any:
    """Return a handle of a secret, which other tools resolve; nothing if there is none."""
    provider = call.text("provider", default="env")
    if provider not in ("env", "credential"):
        raise failed("ValueError", f"unknown provider {provider!r}; known are credential and env")
    found = call.secrets.handle(provider, call.text("name"))
    return {} if found is None else {"value": found}


async def registered(call: Call) -> Any:
    """Run a step type that this worker knows, with the arguments."""
    name = call.text("name")
    found = None if is_own(name) else registry.steps.get(name)
    if found is None:
        own = "; those of flowq itself are not for playbooks" if is_own(name) else ""
        raise failed("LookupError", f"no step {name!r} is registered on this worker{own}")
    given = {**call.args, **call.mapping("args")}
    wanted = found.signature.parameters
    if ARRIVALS not in wanted:  # of a join; most steps do not ask for them
        given.pop(ARRIVALS, None)
    given = {key: value for key, value in call.mapping("fill").items() if key in wanted} | given
    try:
        found.signature.bind(**given)
        known = found.parameters
        given = {
            key: known[key].validate_python(value) if key in known else value
            for key, value in given.items()
        }
    except (TypeError, ValidationError) as error:
        raise failed(type(error).__name__, f"step {name!r}: {error}") from None
    if found.is_async:
        result = await found.function(**given)
    else:
        result = await asyncio.to_thread(found.function, **given)
    return to_jsonable_python(result)


async def llm(call: Call) -> Any:
    """Return what a model answers: a text, or with `schema` JSON that fits it."""
    from flowq.llm.text import chat  # noqa: PLC0415 - only here the library is needed

    messages = call.config.get("messages")
    if messages is None:
        messages = [{"role": "user", "content": call.text("prompt")}]
    schema = call.config.get("schema")
    if schema is not None:
        asked = f"Answer with JSON only, that fits this JSON Schema: {json.dumps(schema)}"
        messages = [{"role": "system", "content": asked}, *messages]
    if call.config.get("system"):
        messages = [{"role": "system", "content": call.text("system")}, *messages]
    known = call.config
    settings = {name: known[name] for name in LLM_SETTINGS if known.get(name) is not None}
    answer = await chat(
        messages,
        model=call.text("model", default=""),
        settings=settings,
        stream=schema is None,
        where="llm",
    )
    return answer if schema is None else _fitting(answer, schema)


def _fitting(answer: str, schema: Any) -> Any:
    text = answer.strip().removeprefix("```json").removeprefix("```").removesuffix("```")
    try:
        value = json.loads(text)
        validate(value, schema)
    except ValueError:
        said = f"the model has not answered with JSON: {text[:300]}"
        raise failed("InvalidAnswer", said) from None
    except Misfit as error:
        said = f"the answer does not fit the schema: {error.message[:300]}"
        raise failed("InvalidAnswer", said) from None
    except SchemaError as error:
        raise InvalidFlow(f"schema is no JSON Schema: {error.message[:300]}") from None
    return value
