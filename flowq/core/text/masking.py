"""Hides secrets in addresses of servers: user, password and query.

Every address in an error, a log or a page goes through `masked`, and every text of an outside error
that may contain one through `without_secrets`. Both handle addresses as people write them: an
unquoted password with a `/`, `@` or `?` must not be shown either.
"""

import re
from typing import Final
from urllib.parse import unquote

#: Separates the addresses of one list; a `;` in a password does not.
SEPARATOR: Final = re.compile(r"\s*;\s*(?=[A-Za-z][A-Za-z0-9+.-]*://)")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
#: The scheme is bounded: a search would else take a time that grows with the square of a long word.
_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s'\"<>]+")
_PIECES: Final = re.compile(r"[:/?#@;&=\[\]\s]")
#: Characters; shorter pieces would match everywhere.
_LONG_ENOUGH: Final = 3


def masked(url: str) -> str:
    """Return an address without its possible secrets.

    If something is not quoted, the secret parts cannot be known: then only the scheme is left.
    """
    return ";".join(_shown(one) for one in SEPARATOR.split(url.strip()))


def without_secrets(text: str, *urls: str) -> str:
    """Return the text of an outside error without its possible secrets.

    Args:
        text: The text; each address in it is masked.
        urls: Addresses of which it may quote pieces, as Python does with one that it cannot parse.
    """
    for url in urls:
        rest = url.partition("://")[2] or url
        login, _, place = rest.rpartition("@")
        port = place.rpartition(":")[2]  # a password, where the host was forgotten
        secret = f"{login} {place.partition('?')[2]} {'' if port.isdigit() else port}"
        pieces = {one for piece in _PIECES.split(secret) for one in (piece, unquote(piece))}
        for piece in sorted(pieces, key=len, reverse=True):
            if len(piece) >= _LONG_ENOUGH:
                text = text.replace(piece, "…")
    return _ADDRESS.sub(lambda found: masked(found[0]), text)


def _shown(url: str) -> str:
    scheme, colon, rest = url.partition("://")
    if not colon or not _SCHEME.fullmatch(scheme):
        return "…" if "@" in url else re.split(r"[?#]", url)[0]
    place = re.split(r"[/?#]", rest)[0]
    beyond = rest[len(place) :]
    place = place.rpartition("@")[2]
    port = place.rpartition("]")[2].partition(":")[2]  # a password, where the host was forgotten
    if "@" in beyond or not re.fullmatch(r"[0-9]*", port):
        return f"{scheme}://…"
    return f"{scheme}://{place}{re.split('[?#]', beyond)[0]}"
