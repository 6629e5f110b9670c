"""From the name of a model, say `openai:gpt-5-mini` or `test`, to something that can be asked.

Clients are kept for as long as the event loop they belong to: the steps of a worker share one loop,
and with it connections, TLS sessions and agents. No client repeats a call by itself: each call has
to be recorded, and the step's own policy says what is repeated.
"""

import asyncio
import os
import re
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from flowq.core.errors import InvalidFlow, ModelRefused
from flowq.llm.caller import current_settings

if TYPE_CHECKING:
    from pydantic_ai.images import ImageGenerationModel
    from pydantic_ai.models import Model
    from pydantic_ai.providers import Provider

#: Of all that a loop has asked for, by what it is and for whom.
_kept: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]]" = WeakKeyDictionary()

_SETTING = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN)\b")
_OPENAI = ("openai", "openai-chat", "openai-responses")


def kept(key: Any, make: Any) -> Any:
    """Return what `make` has made for this key on the running event loop."""
    of_loop = _kept.setdefault(asyncio.get_running_loop(), {})
    if key not in of_loop:
        of_loop[key] = make()
    return of_loop[key]


def chosen(kind: str, *choices: Any) -> Any:
    """Return the first model that is given: by the call, the class, the setting.

    Raises:
        ModelRefused: none is.
    """
    setting = "image_model" if kind == "image" else "model"
    for choice in (*choices, getattr(current_settings(), setting)):
        if choice:
            return choice
    raise ModelRefused(
        "no model is configured",
        hint=f"set FLOWQ_{setting.upper()}, e.g. to openai:gpt-5-mini, or `model` of the step",
    )


def text_model(model: Any) -> "Model":
    """Return the model that a name stands for; an instance is returned as it is.

    Raises:
        ModelRefused: nobody knows the name, or there is no key for its provider.
        InvalidFlow: pydantic-ai is not installed.
    """
    if not isinstance(model, str):
        given: Model = model
        return given
    found: Model = kept(("text", model, _place()), lambda: _text_model(model))
    return found


def image_model(model: Any) -> "ImageGenerationModel":
    """Return the model of images that a name stands for; raises as `text_model`."""
    if not isinstance(model, str):
        given: ImageGenerationModel = model
        return given
    found: ImageGenerationModel = kept(("image", model, _place()), lambda: _image_model(model))
    return found


def once(model: Any, settings: dict[str, Any]) -> Any:
    """Return a call's settings, by which its client makes the call once, whatever comes back.

    A client that repeats nothing by itself is not told so: pydantic-ai would make a copy of it for
    each call, which costs more than the call.
    """
    client = getattr(model, "client", None)
    return settings if getattr(client, "max_retries", None) == 0 else {"max_retries": 0, **settings}


def _place() -> tuple[str | None, ...]:
    """Return what else decides whom a name reaches."""
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    return (current_settings().openai_base_url, *(os.environ.get(name) for name in names))


def _text_model(name: str) -> "Model":
    try:
        from pydantic_ai.models import infer_model  # noqa: PLC0415 - see the package
    except ImportError as error:
        raise missing(error) from error
    provider, _, rest = name.partition(":")
    if provider in ("openai", "openai-chat") and current_settings().openai_base_url:
        # Other servers speak chat completions; few speak what OpenAI's own is asked by default.
        return _own_server_model(rest)
    asked: Model = _asked(name, lambda: infer_model(name, provider_factory=_provider))
    return asked


def _own_server_model(name: str) -> "Model":
    from flowq.llm.own_server import OwnServerModel  # noqa: PLC0415 - see the package

    return OwnServerModel(name, provider=_provider("openai-chat"))


def _image_model(name: str) -> "ImageGenerationModel":
    try:
        from pydantic_ai.images import (  # noqa: PLC0415 - see the package
            TestImageGenerationModel,
            infer_image_generation_model,
        )
    except ImportError as error:
        raise missing(error) from error
    if name == "test":
        return TestImageGenerationModel()
    asked: ImageGenerationModel = _asked(
        name, lambda: infer_image_generation_model(name, provider_factory=_provider)
    )
    return asked


def _provider(name: str) -> "Provider[Any]":
    from pydantic_ai.providers import infer_provider  # noqa: PLC0415 - see the package

    if name not in _OPENAI:
        return infer_provider(name)
    provider: Provider[Any] = kept(("provider", _place()), _openai)
    return provider


def _openai() -> "Provider[Any]":
    from openai import AsyncOpenAI  # noqa: PLC0415 - see the package
    from pydantic_ai.providers.openai import OpenAIProvider  # noqa: PLC0415

    from flowq.llm.transport import http_client  # noqa: PLC0415

    url = current_settings().openai_base_url
    key = os.environ.get("OPENAI_API_KEY")
    if not key:
        if not url:
            return OpenAIProvider()  # which says what is missing
        key = "none"  # a server of one's own seldom asks for one
    client = AsyncOpenAI(base_url=url, api_key=key, http_client=http_client(), max_retries=0)
    return OpenAIProvider(openai_client=client)


def _asked(name: str, make: Any) -> Any:
    from pydantic_ai.exceptions import UserError  # noqa: PLC0415 - see the package

    try:
        return make()
    except ImportError as error:
        raise missing(error) from error
    except (UserError, ValueError) as error:
        text = str(error).partition(" To try Pydantic AI")[0]
        setting = _SETTING.search(text)
        if setting:
            provider = name.partition(":")[0].partition("-")[0]
            raise ModelRefused(
                f"there is no key for the provider {provider!r} of the model {name!r}",
                hint=f"set {setting[0]} where the workers run",
            ) from error
        raise ModelRefused(
            f"unknown model {name!r}: {text}",
            hint="write provider:name, e.g. openai:gpt-5-mini, anthropic:claude-haiku-4-5, or test",
        ) from error


def missing(error: ImportError) -> InvalidFlow:
    """Return the error of a library that is not installed."""
    return InvalidFlow(
        f"models cannot be called here: {error}",
        hint='pip install "flowq[llm]"; other providers than OpenAI: '
        'pip install "pydantic-ai-slim[anthropic]"',
    )
