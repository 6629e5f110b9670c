"""Returns the client for the name of a model, such as `openai:gpt-5-mini` or `test`.

Clients live as long as their event loop. The steps of a worker share one loop, and so connections,
TLS sessions and agents. No client retries a call: each call has to be recorded, and the retry
policy of the step decides what is repeated.
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

#: Clients and agents of each event loop, by their kind and model.
_kept: "WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]]" = WeakKeyDictionary()

_SETTING = re.compile(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN)\b")
_OPENAI = ("openai", "openai-chat", "openai-responses")


def kept(key: Any, make: Any) -> Any:
    """Return the object of this key on the running event loop; call `make` if there is none."""
    of_loop = _kept.setdefault(asyncio.get_running_loop(), {})
    if key not in of_loop:
        of_loop[key] = make()
    return of_loop[key]


def chosen(kind: str, *choices: Any) -> Any:
    """Return the first model that is given: in the call, the class or the setting.

    Raises:
        ModelRefused: none is given.
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
    """Return the model with a name; an instance is returned unchanged.

    Raises:
        ModelRefused: the name is unknown, or there is no key for its provider.
        InvalidFlow: pydantic-ai is not installed.
    """
    if not isinstance(model, str):
        given: Model = model
        return given
    found: Model = kept(("text", model, _place()), lambda: _text_model(model))
    return found


def image_model(model: Any) -> "ImageGenerationModel":
    """Return the image model with a name; raises as `text_model`."""
    if not isinstance(model, str):
        given: ImageGenerationModel = model
        return given
    found: ImageGenerationModel = kept(("image", model, _place()), lambda: _image_model(model))
    return found


def once(model: Any, settings: dict[str, Any]) -> Any:
    """Return a call's settings with which its client never retries the call.

    A client that never retries gets no setting for it: pydantic-ai would copy the client for each
    call, which costs more than the call.
    """
    client = getattr(model, "client", None)
    return settings if getattr(client, "max_retries", None) == 0 else {"max_retries": 0, **settings}


def _place() -> tuple[str | None, ...]:
    """Return the other settings that decide which server a name reaches."""
    names = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
    return (current_settings().openai_base_url, *(os.environ.get(name) for name in names))


def _text_model(name: str) -> "Model":
    try:
        from pydantic_ai.models import infer_model  # noqa: PLC0415 - see the package
    except ImportError as error:
        raise missing(error) from error
    provider, _, rest = name.partition(":")
    if provider in ("openai", "openai-chat") and current_settings().openai_base_url:
        # Other servers support chat completions; few support the newer API of OpenAI.
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
            return OpenAIProvider()  # its message says what is missing
        key = "none"  # other servers seldom ask for one
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
    """Return the error for a library that is not installed."""
    return InvalidFlow(
        f"models cannot be called here: {error}",
        hint='pip install "flowq[llm]"; other providers than OpenAI: '
        'pip install "pydantic-ai-slim[anthropic]"',
    )
