"""The tool `http`: one request; its result is the answer in an envelope.

A status of 400 or more fails the call, with the status and the body for templates. Nothing is
repeated here; a document says what is. Addresses that are not public need FLOWQ_FETCH_HOSTS.
"""

import base64
import json
import time
from collections.abc import Mapping
from typing import Any, Final

from flowq.core.errors import FetchFailed, FetchRefused
from flowq.playbooks.running.kinds.call import Call, failed

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
#: Seconds of a request that names none.
_SECONDS: Final = 60.0
#: Characters of a body that a failure has.
_BODY: Final = 16 * 1024


async def http(call: Call) -> Any:
    """Return the envelope of an answer."""
    try:
        from flowq.tools.fetch import Request, send  # noqa: PLC0415 - only here it is needed
    except ImportError as error:
        said = f"requests cannot be made here: {error}; pip install 'flowq[llm]'"
        raise failed("ImportError", said) from error
    method = call.text("method", default="GET").upper()
    if method not in _METHODS:
        known = ", ".join(_METHODS)
        raise failed("ValueError", f"unknown method {method[:20]!r}; known are {known}")
    body, kind = _body(call)
    headers = _headers(call, kind)
    began = time.monotonic()
    try:
        request = Request(_url(call), method, headers, body)
        answer = await send(
            request, rules=call.settings.fetch_rules, seconds=call.seconds or _SECONDS
        )
    except (FetchFailed, FetchRefused) as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise failed(type(error).__name__, error.message + hint) from None
    data = _data(answer.body, answer.content_type)
    if answer.status >= 400:
        data = call.secrets.masked(data)  # before it is cut, which may be within a secret
        shown = data if len(json.dumps(data)) <= _BODY else str(data)[:_BODY]
        said = f"HTTP {answer.status} from {method} {answer.url.partition('?')[0]}"
        raise failed("HTTPError", said, status=answer.status, body=shown)
    return {
        "status": answer.status,
        "status_code": answer.status,
        "headers": dict(answer.headers),
        "url": answer.url,
        "elapsed_ms": round((time.monotonic() - began) * 1_000),
        "data": data,
    }


def _url(call: Call) -> str:
    import httpx2  # noqa: PLC0415 - as above

    url, params = call.text("endpoint", "url"), call.mapping("params")
    if not params:
        return url
    pairs: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in params.items():
        values = value if isinstance(value, list) else [value]
        pairs += [(name, _parameter(one)) for one in values if one is not None]
    try:
        return str(httpx2.URL(url).copy_merge_params(pairs))
    except (httpx2.InvalidURL, ValueError) as error:
        raise failed("ValueError", f"it is not a URL: {error}") from None


def _parameter(value: Any) -> str:
    if isinstance(value, bool | dict | list):
        return json.dumps(value)
    return str(value)


def _headers(call: Call, kind: str | None) -> dict[str, str]:
    headers = {str(name): _parameter(value) for name, value in call.mapping("headers").items()}
    known = {name.lower() for name in headers}
    if kind is not None and "content-type" not in known:
        headers["content-type"] = kind
    auth = call.config.get("auth")
    if auth and "authorization" not in known:
        headers |= _authorization(call, auth)
    return headers


def _authorization(call: Call, auth: Any) -> dict[str, str]:
    found = call.secrets.credential(auth) if isinstance(auth, str) else auth
    if not isinstance(found, Mapping):
        raise failed("ValueError", "auth must be the name of a credential")
    kind = str(found.get("kind", "bearer"))
    if kind == "basic":
        pair = f"{found.get('user', '')}:{found.get('password', '')}".encode()
        coded = call.secrets.hide(base64.b64encode(pair).decode())
        return {"authorization": f"Basic {coded}"}
    if kind == "header":
        return {str(found.get("name", "x-api-key")): str(found.get("value", ""))}
    token = found.get("token") or found.get("value")
    if kind != "bearer" or not token:
        raise failed("ValueError", "auth needs a credential of kind bearer, basic or header")
    return {"authorization": f"Bearer {token}"}


def _body(call: Call) -> tuple[bytes, str | None]:
    found = next(
        (call.config[name] for name in ("data", "payload", "body") if call.config.get(name)), None
    )
    if found is None:
        return b"", None
    if isinstance(found, str):
        return found.encode(), "text/plain; charset=utf-8"
    return json.dumps(found, ensure_ascii=False, allow_nan=False).encode(), "application/json"


def _data(body: bytes, content_type: str) -> Any:
    """Return a body: JSON if its content type says so, else text."""
    kind, _, rest = content_type.lower().partition(";")
    _, _, charset = rest.partition("charset=")
    try:
        text = body.decode(charset.strip(" \"'") or "utf-8", errors="replace")
    except LookupError:
        text = body.decode(errors="replace")
    if kind.strip() == "application/json" or kind.strip().endswith("+json"):
        try:
            return json.loads(text) if text.strip() else None
        except (ValueError, RecursionError):
            return text
    return text
