"""The base of all pages of the tab: login, reads, templates, errors.

Reads and actions block, and Flower's event loop must not block: they run in Flower's executor, on
the engine of this process. Errors of flowq are shown with their hint, inside Flower's layout. An
invalid address or form gets 400 or 404 before anything reads it. Pages of other sites cannot frame
these pages.
"""

import logging
from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from flower.views import BaseHandler
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from flowq import bootstrap
from flowq.core.errors import (
    DatabaseNotMigrated,
    DatabaseTooNew,
    FlowNotFound,
    FlowqError,
    InvalidInput,
    RunNotFound,
    ScheduleNotFound,
    Unavailable,
)
from flowq.engine.engine import Engine
from flowq.entrypoints import formatting
from flowq.entrypoints.flower import html
from flowq.settings.models import cost_label_keys

#: The files that the pages load: styles and one script.
STATIC: Final = Path(__file__).parent / "static" / "flowq"

#: HTTP statuses of errors; all other errors mean that a service is unavailable.
_STATUS: Final = {
    RunNotFound: 404,
    FlowNotFound: 404,
    ScheduleNotFound: 404,
    InvalidInput: 400,
}

#: Errors of which no reload helps, and whose hint does; they name no host.
_SAYS_WHAT_TO_DO: Final = (DatabaseNotMigrated, DatabaseTooNew)

#: Bytes of a form.
_MAX_FORM_BYTES: Final = 2 * 1024 * 1024

#: Seconds after which a page that could not be read is loaded again.
_AGAIN: Final = 5

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


#: Flower's handlers have no types, so neither has a class between.
_Handler: Any = RequestHandler


class Guarded(_Handler):  # type: ignore[misc]
    """Rules for every address below `/flows`, static files too."""

    def set_default_headers(self) -> None:
        """Forbid frames, content sniffing and referrers."""
        super().set_default_headers()
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Content-Security-Policy", "frame-ancestors 'none'")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "same-origin")

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Return a part of the path, or an argument, as text.

        Raises:
            HTTPError: 400; it is not UTF-8, or contains a NUL character.
        """
        text: str = super().decode_argument(value, name)
        if "\0" in text:
            raise HTTPError(400, "the address or the form contains a NUL character")
        return text


class PageHandler(Guarded, BaseHandler):  # type: ignore[misc]  # Flower has no types
    """A page of the tab. Its methods are marked `tornado.web.authenticated`, as Flower's are."""

    def prepare(self) -> None:
        """Refuse a body that is too large for a form.

        Raises:
            HTTPError: 413.
        """
        super().prepare()
        if len(self.request.body) > _MAX_FORM_BYTES:
            size = formatting.size(_MAX_FORM_BYTES)
            raise HTTPError(
                413, f"a form may have at most {size}; send more from Python or the CLI"
            )

    def check_xsrf_cookie(self) -> None:
        """Require the origin of the page and the token of its form, with every kind of login.

        Raises:
            HTTPError: 403.
        """
        self.get_current_user()  # without a login the answer is 401 first
        headers = self.request.headers
        site, origin = headers.get("Sec-Fetch-Site"), headers.get("Origin")
        if site not in (None, "same-origin"):
            raise HTTPError(403, "Cross-site request forbidden")
        if site is None and origin and _host(origin) != self.request.host:
            raise HTTPError(403, "Cross-origin request forbidden")
        RequestHandler.check_xsrf_cookie(self)

    async def read(self, question: Callable[[Engine], _T]) -> _T:
        """Call a function with the engine in a thread, and await the result.

        Args:
            question: Called with the engine of this process.

        Raises:
            FlowqError: raised by `question`; `write_error` shows it as a page.
        """
        loop, executor = self.application.io_loop, self.application.executor
        answer: _T = await loop.run_in_executor(executor, partial(_asked, question))
        return answer

    def body(self) -> dict[str, str]:
        """Return the arguments of a form; of repeated ones the last."""
        arguments = self.request.body_arguments
        return {name: self.decode_argument(found[-1], name) for name, found in arguments.items()}

    @property
    def read_only(self) -> bool:
        """Return whether Flower was started with `--read_only`; then no page offers an action."""
        return bool(self.application.options.read_only)

    def refuse_when_read_only(self) -> None:
        """Refuse an action while Flower is read-only.

        Raises:
            HTTPError: 403.
        """
        if self.read_only:
            raise HTTPError(403, "Flower was started with --read_only")

    @property
    def who(self) -> str | None:
        """The user that is logged in; None if Flower has no login, or does not name the user."""
        return self.current_user if isinstance(self.current_user, str) else None

    @property
    def shows_content(self) -> bool:
        """Return whether prompts, answers, inputs and outputs are shown: FLOWQ_SHOW_CONTENT."""
        return bootstrap.settings().show_content

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the keys of metadata whose values are always shown: FLOWQ_COST_LABELS."""
        return cost_label_keys(bootstrap.settings().cost_labels)

    def asset(self, name: str) -> str:
        """Return the URL of a static file of flowq; it contains a digest of the file."""
        return f"{self.reverse_url('flows-static', name)}?v={_version(name)}"

    def show(self, template: str, **values: Any) -> None:
        """Send a page.

        Args:
            template: A file in `templates/flowq`, without its suffix.
            values: Variables of the template, beside `formatting`, `html`, `asset` and Flower's.
        """
        self.set_header("Cache-Control", "no-store")
        self.render(
            f"flowq/{template}.html",
            formatting=formatting,
            html=html,
            asset=self.asset,
            read_only=self.read_only,
            shows_content=self.shows_content,
            **values,
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Show an error of flowq with its hint; show other errors as Flower does."""
        error = kwargs["exc_info"][1] if kwargs.get("exc_info") else None
        if isinstance(error, HTTPError) and status_code in {400, 403, 404, 413}:
            error = InvalidInput(error.log_message or f"this got the status {status_code}")
            self.set_status(status_code)
        elif isinstance(error, Unavailable) and not isinstance(error, _SAYS_WHAT_TO_DO):
            # Its message names hosts and users, which belong into the log.
            logger.warning("a page could not be shown: %s", error)
            error = Unavailable(
                "the database, Redis or the object store cannot be used now",
                hint=f"wait: the page tries again every {_AGAIN} seconds; Flower's log says why",
            )
            self.set_status(503)
            if self.request.method == "GET":
                self.set_header("Refresh", str(_AGAIN))
        elif isinstance(error, FlowqError):
            self.set_status(_STATUS.get(type(error), 503))
        else:
            super().write_error(status_code, **kwargs)
            return
        self.show("problem", error=error, back=None)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log no traceback of an error that is shown to the user."""
        if not isinstance(value, FlowqError):
            super().log_exception(typ, value, tb)


class Static(Guarded, StaticFileHandler):
    """flowq's styles and script; without a login, like Flower's own static files."""


class Nothing(PageHandler):
    """Every unknown address below `/flows`."""

    def prepare(self) -> None:
        """Answer 404 to every method.

        Raises:
            HTTPError: 404.
        """
        raise HTTPError(404, "there is no such page in the Flows tab")


def _asked(question: Callable[[Engine], _T]) -> _T:
    return question(bootstrap.engine())


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


@cache
def _version(name: str) -> str:
    return sha256((STATIC / name).read_bytes()).hexdigest()[:12]
