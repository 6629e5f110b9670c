"""What every page of the tab has in common: login, reading, looks, errors.

Reads and actions block, and Flower's event loop must not: they run in Flower's own executor, on the
engine of this process. What flowq refuses is shown with its hint, in Flower's frame.
"""

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar

from flower.views import BaseHandler
from tornado.web import HTTPError, StaticFileHandler

from flowq import bootstrap
from flowq.core.errors import FlowNotFound, FlowqError, InvalidInput, RunNotFound
from flowq.engine.engine import Engine
from flowq.entrypoints import shown
from flowq.entrypoints.flower import parts

#: The files that the pages load: styles and one script.
STATIC: Final = Path(__file__).parent / "static" / "flowq"

#: What a refusal means to a client; any other one is that something is not there for now.
_STATUS: Final = {RunNotFound: 404, FlowNotFound: 404, InvalidInput: 400}

_T = TypeVar("_T")


class Page(BaseHandler):  # type: ignore[misc]  # Flower has no types
    """A page of the tab. Its methods are marked `tornado.web.authenticated`, as Flower's are."""

    async def read(self, question: Callable[[Engine], _T]) -> _T:
        """Ask the engine in a thread, and wait for the answer.

        Args:
            question: called with the engine of this process.

        Raises:
            FlowqError: as raised by the question; shown as a page by `write_error`.
        """
        loop, executor = self.application.io_loop, self.application.executor
        answer: _T = await loop.run_in_executor(executor, partial(_asked, question))
        return answer

    @property
    def read_only(self) -> bool:
        """Tell whether Flower was started with `--read_only`: no page offers an action then."""
        return bool(self.application.options.read_only)

    def refuse_when_read_only(self) -> None:
        """Refuse an action while Flower is read-only.

        Raises:
            HTTPError: 403.
        """
        if self.read_only:
            raise HTTPError(403, "Flower was started with --read_only")

    @property
    def shows_content(self) -> bool:
        """Tell whether prompts, answers, inputs and outputs are shown: FLOWQ_SHOW_CONTENT."""
        return bootstrap.settings().show_content

    def asset(self, name: str) -> str:
        """Return the address of one of flowq's static files; it changes with the file."""
        return f"{self.reverse_url('flows-static', name)}?v={_version(name)}"

    def show(self, template: str, **values: Any) -> None:
        """Send a page.

        Args:
            template: a file in `templates/flowq`, without its ending.
            values: what the template uses, beside `shown`, `parts`, `asset` and what Flower gives.
        """
        self.set_header("Cache-Control", "no-store")
        self.render(
            f"flowq/{template}.html",
            shown=shown,
            parts=parts,
            asset=self.asset,
            read_only=self.read_only,
            shows_content=self.shows_content,
            **values,
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show what flowq refused, and what to do about it; all else as Flower shows it."""
        error = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        if not isinstance(error, FlowqError):
            super().write_error(status_code, **kwargs)
            return
        self.set_status(_STATUS.get(type(error), 503))
        self.show("problem", error=error)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Leave out of the log's tracebacks what is told to the user."""
        if not isinstance(value, FlowqError):
            super().log_exception(typ, value, tb)


class Static(StaticFileHandler):
    """flowq's own styles and script; no login, as with Flower's own."""

    def set_extra_headers(self, path: str) -> None:  # noqa: ARG002
        """Forbid guessing at types."""
        self.set_header("X-Content-Type-Options", "nosniff")


def _asked(question: Callable[[Engine], _T]) -> _T:
    return question(bootstrap.engine())


@cache
def _version(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]
