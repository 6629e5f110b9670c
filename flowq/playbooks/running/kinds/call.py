"""One call of a tool, as its function gets it, and how it fails."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowq.core.errors import StepError
from flowq.settings import Settings
from flowq.tools.secrets import Secrets


class CallFailed(StepError):
    """A tool could not do what the document says.

    Its details are what templates see of it: `type`, `status` and `body`.
    """


def failed(
    kind: str, message: str, *, status: int | None = None, body: Any = None, traceback: str = ""
) -> CallFailed:
    """Return a failure that templates see as `error`.

    Args:
        kind: The type: the name of an exception.
        message: What failed and why.
        status: Of an HTTP response.
        body: Of an HTTP response.
        traceback: Of the code of the document.
    """
    known = {"type": kind, "status": status, "body": body, "traceback": traceback or None}
    return CallFailed(message, details={key: v for key, v in known.items() if v is not None})


@dataclass(frozen=True)
class Call:
    """What a tool gets.

    Attributes:
        config: The tool's fields, rendered, with secrets.
        args: The arguments of the step, rendered, with secrets.
        context: `execution_id`, `step`, and what a task of the workbook `expects` and `returns`.
        settings: Of this worker.
        secrets: What may be used; it masks what was.
    """

    config: Mapping[str, Any]
    args: Mapping[str, Any]
    context: Mapping[str, Any]
    settings: Settings
    secrets: Secrets

    def text(self, *names: str, default: str | None = None) -> str:
        """Return the first of these fields that there is, as a text.

        Raises:
            CallFailed: there is none, or it is no text.
        """
        found = next((self.config[name] for name in names if self.config.get(name)), default)
        if not isinstance(found, str):
            raise failed("ValueError", f"the tool needs {' or '.join(names)}, as a text")
        return found

    def mapping(self, name: str) -> Mapping[str, Any]:
        """Return a field that is a mapping, or nothing.

        Raises:
            CallFailed: it is something else.
        """
        found = self.config.get(name) or {}
        if not isinstance(found, Mapping):
            raise failed("ValueError", f"{name} must be a mapping")
        return found

    @property
    def seconds(self) -> float | None:
        """The tool's own timeout, if it has one."""
        found = self.config.get("timeout")
        if found is None:
            return None
        try:
            seconds = float(found)
        except (TypeError, ValueError):
            seconds = 0
        if not 0 < seconds <= 86_400:
            raise failed("ValueError", "timeout: must be seconds, up to a day")
        return seconds

    def check_arguments(self) -> None:
        """Check what a task of the workbook expects.

        Raises:
            CallFailed: an argument is missing.
        """
        given = {**self.args, **_mapping(self.config.get("args"))}
        missing = [name for name in self.context.get("expects", ()) if name not in given]
        if missing:
            raise failed("AssertionError", f"the task expects the arguments {', '.join(missing)}")

    def checked(self, result: Any) -> Any:
        """Return a result that has what a task of the workbook promises.

        Raises:
            CallFailed: a key is missing.
        """
        has = result if isinstance(result, Mapping) else {}
        missing = [name for name in self.context.get("returns", ()) if name not in has]
        if missing:
            raise failed("AssertionError", f"the result of the task lacks {', '.join(missing)}")
        return result


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
