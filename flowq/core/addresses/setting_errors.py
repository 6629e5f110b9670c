"""The error for invalid settings: all problems at once, without values, which may be secrets."""

import re
from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from flowq.core.errors import InvalidSetting


def invalid_settings(error: ValidationError | SettingsError) -> InvalidSetting:
    """Return flowq's error for settings that pydantic refused."""
    if isinstance(error, SettingsError):
        found = re.search(r'field "(\w+)"', str(error))
        name = f"FLOWQ_{found[1].upper()}" if found else "a setting"
        return InvalidSetting(f"{name} cannot be read as JSON", hint="type: flowq docs settings")
    problems = list(_problems(error))
    hints = [hint for _, hint in problems if hint]
    return InvalidSetting(
        "\n  ".join(["these settings are invalid:", *(text for text, _ in problems)]),
        hint=hints[0] if len(problems) == len(hints) == 1 else "type: flowq docs settings",
    )


def _problems(error: ValidationError) -> Iterator[tuple[str, str | None]]:
    for problem in error.errors(include_url=False):
        name = f"FLOWQ_{str(problem['loc'][0]).upper()}"
        own: Any = problem.get("ctx", {}).get("error")
        if isinstance(own, InvalidSetting):
            yield f"{name} {own.message.removeprefix(name).strip()}", own.hint
            continue
        value = str(problem["input"])
        said = "" if "://" in value or "@" in value else f"={problem['input']!r}"
        yield f"{name}{said}: {problem['msg']}", None
