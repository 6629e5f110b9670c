"""Images from models: the bytes go into the results store, their URL into the result."""

import asyncio
from datetime import timedelta
from typing import Any

from flowq.core.errors import StepError
from flowq.core.results import image_key
from flowq.llm.caller import current_settings
from flowq.llm.models import image_model
from flowq.llm.recording import MAX_KEPT, Spending, calling
from flowq.llm.results import ImageFacts

#: Old names of qualities; newer models have others.
_QUALITIES = {"standard": "auto", "hd": "high"}


async def image(
    prompt: str,
    *,
    size: str,
    quality: str,
    model: Any,
    settings: dict[str, Any],
    spent: Spending,
) -> tuple[str, ImageFacts]:
    """Ask a model for an image; return its URL and its facts.

    Args:
        prompt: What the image shows.
        size: Pixels as `1024x1024`, or `auto`.
        quality: `standard`, `hd`, or a name that the model defines.
        model: Its name, or an instance.
        settings: Further settings, by pydantic-ai's names.
        spent: The execution that the call counts for.

    Raises:
        ModelUnavailable: it cannot be asked now.
        ModelRefused: it cannot be asked at all.
        StoreUnavailable: the bytes cannot be stored.
    """
    found = image_model(model)
    asked: Any = {**_options(found.system, size, quality), **settings}
    store = spent.calls.objects
    if store is None:
        raise StepError(
            "there is no object store for images in this process", hint="set FLOWQ_RESULTS_URL"
        )
    async with calling(found.system, found.model_name, None, lambda: prompt[:MAX_KEPT]) as call:
        answer = await found.generate(prompt, settings=asked)
        call.used = answer.usage
        data, media_type = answer.image.data, answer.image.media_type
        suffix = media_type.rpartition("/")[2]
        caller = spent.calls.caller
        key = image_key(caller.run_id, caller.step_id, call.recorded.id, suffix)
        # As with all results, before the row that names it is written.
        await asyncio.to_thread(lambda: store().put(key, data))
        call.object_key = key
    expires = timedelta(hours=current_settings().image_url_hours)
    url = await asyncio.to_thread(lambda: store().url(key, expires))
    revised = answer.images[0].revised_prompt
    facts = ImageFacts(
        key=key, media_type=media_type, size=size, size_bytes=len(data), revised_prompt=revised
    )
    return url, facts


def _options(provider: str, size: str, quality: str) -> dict[str, Any]:
    if provider == "openai":
        return {"openai_size": size, "openai_quality": _QUALITIES.get(quality, quality)}
    wide, _, high = size.partition("x")
    if wide.isdigit() and high.isdigit():
        return {"dimensions": (int(wide), int(high))}
    return {}
