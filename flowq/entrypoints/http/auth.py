"""Authentication: FLOWQ_HTTP_AUTH says how the sender of a request is identified.

    local   every client on this machine is `local-user`, who sees all runs
    tokens  by `Authorization: Bearer <token>`; a file has the SHA-256 of each token
    jwt     by a JWT there, signed with the key; `sub` is the user, `role` the role

A `user` sees the runs of their own; an `admin` those of everybody; a `service` names the user for
whom it asks in `X-User-Id`, and their team in `X-Team-Id`, as one may in `local` mode. Else the
team is the fourth word of a line of the file, or the claim `team` of a JWT.

A request without a valid token is refused before its body is read. In `local` mode nothing else
protects the service, so requests from other machines, and from web pages of other sites, are
refused too.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import jwt
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from flowq.core.errors import FlowqError, InvalidSetting
from flowq.engine.runs.options import text_of
from flowq.entrypoints.http.problems import Refused, answer, problem_of
from flowq.entrypoints.http.settings import HttpSettings, listed

logger = logging.getLogger(__name__)

#: The user of a local request that names none.
LOCAL_USER: Final = "local-user"
_USER_HEADER: Final = "x-user-id"
_TEAM_HEADER: Final = "x-team-id"
#: Public paths.
_OPEN: Final = frozenset({"/health"})
#: Seconds by which clocks may differ.
_LEEWAY: Final = 30


class Role(StrEnum):
    """What a caller may do."""

    USER = "user"  #: See and control their own runs.
    SERVICE = "service"  #: The same for any user that it names.
    ADMIN = "admin"  #: See and control all runs.


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request."""

    user_id: str
    role: Role
    team_id: str | None = None

    @property
    def sees(self) -> str | None:
        """The user whose runs the caller may see and control; None: all runs."""
        return None if self.role is Role.ADMIN else self.user_id

    def may_see(self, user_id: str | None) -> bool:
        """Return whether the caller may see and control a run of this user."""
        return self.sees in (None, user_id)


class Method(Protocol):
    """A method of authentication."""

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return who sends a request.

        Raises:
            Refused: 401 or 403.
        """


def caller(request: Request) -> Caller:
    """Return who sends this request: `caller: Annotated[Caller, Depends(caller)]`."""
    found: Caller = request.state.caller
    return found


class Authentication:
    """Middleware that authenticates each request, and refuses it if it cannot."""

    def __init__(self, app: ASGIApp, method: Method) -> None:
        self._app = app
        self._method = method

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with its caller in `request.state.caller`."""
        if scope["type"] == "http" and scope["path"] not in _OPEN:
            connection = HTTPConnection(scope)
            try:
                connection.state.caller = self._method.caller(connection)
            except Refused as refused:
                headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
                await answer(refused.status, refused.problem, headers)(scope, receive, send)
                return
            except FlowqError as error:
                await answer(*problem_of(error))(scope, receive, send)
                return
        await self._app(scope, receive, send)


def method(settings: HttpSettings) -> Method:
    """Return the method of authentication of these settings.

    Raises:
        InvalidSetting: the file of tokens, or the key, cannot be used.
    """
    if settings.http_auth == "tokens":
        assert settings.http_tokens_file is not None
        return Tokens(settings.http_tokens_file)
    if settings.http_auth == "jwt":
        assert settings.http_jwt_key is not None
        key = settings.http_jwt_key.get_secret_value()
        return Jwt(key, listed(settings.http_jwt_algorithms), settings.http_jwt_audience)
    return Local(listed(settings.http_cors_origins), insecure=settings.http_insecure)


class Local:
    """Accepts every client on this machine.

    Args:
        origins: Web pages that may send requests.
        insecure: Whether other machines may, too.
    """

    def __init__(self, origins: Iterable[str], *, insecure: bool) -> None:
        self._origins = frozenset(origins)
        self._insecure = insecure

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return the local user, or the one that is named."""
        headers = connection.headers
        if not self._insecure:
            self._check_machine(connection)
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins and _host(origin) != _named(headers):
            raise Refused(
                403,
                "Forbidden",
                f"the web page {origin} may not use this service",
                "name it in FLOWQ_HTTP_CORS_ORIGINS",
            )
        named = _named_user(headers)
        team = _named_team(headers)
        return Caller(named, Role.USER, team) if named else Caller(LOCAL_USER, Role.ADMIN, team)

    def _check_machine(self, connection: HTTPConnection) -> None:
        """Refuse clients on other machines, and pages that use DNS rebinding."""
        client = connection.client
        hosts = [urlsplit(f"//{_named(connection.headers)}").hostname or ""]
        hosts += [client.host] if client is not None else []
        if not all(is_loopback(host) for host in hosts):
            raise Refused(
                403,
                "Forbidden",
                "this service answers clients on its own machine only",
                "set FLOWQ_HTTP_AUTH=tokens, or start it with: flowq api --insecure",
            )


class Tokens:
    """Accepts tokens whose SHA-256 is in a file; the file is read again when it changes.

    If the file becomes invalid, that is logged once, and the previous tokens stay valid.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen = self._stamp()
        self._callers = self._read()

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return the owner of the token."""
        if (seen := self._stamp()) != self._seen:
            self._seen = seen
            try:
                self._callers = self._read()
            except InvalidSetting as error:
                logger.error("the tokens that were read before stay valid: %s", error)  # noqa: TRY400
        # The time to find a digest reveals nothing about the token.
        digest = sha256(_token(connection.headers).encode()).hexdigest()
        found = self._callers.get(digest)
        if found is None:
            raise Refused(401, "Unauthorized", "the token is not known", _HINT)
        return _acting(found, connection.headers)

    def _stamp(self) -> tuple[int, int] | None:
        """Return a value that changes with the file; None if the file cannot be read."""
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size

    def _read(self) -> Mapping[str, Caller]:
        try:
            return dict(_lines(self._file.read_text(encoding="utf-8")))
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidSetting(
                f"FLOWQ_HTTP_TOKENS_FILE={self._file} cannot be read: {error}",
                hint="a line each: <SHA-256 of the token> <user> <role>",
            ) from error


class Jwt:
    """Accepts valid JWTs that are signed with the configured key and algorithms."""

    def __init__(self, key: str, algorithms: list[str], audience: str | None) -> None:
        self._key = key
        self._algorithms = algorithms
        self._audience = audience
        try:
            for name in algorithms:
                jwt.get_algorithm_by_name(name).prepare_key(key)
        except (jwt.PyJWTError, NotImplementedError, ValueError, TypeError) as error:
            raise InvalidSetting(
                f"FLOWQ_HTTP_JWT_KEY cannot be used with {', '.join(algorithms)}: {error}",
                hint='for other algorithms than HS…: pip install "pyjwt[crypto]", and a PEM key',
            ) from error
        self._check_length()

    def _check_length(self) -> None:
        """Refuse a secret that is shorter than its digests, as RFC 7518 (3.2) demands."""
        size = len(self._key.encode())
        for name in self._algorithms:
            if name.startswith("HS") and size < (needed := int(name[2:]) // 8):
                raise InvalidSetting(
                    f"FLOWQ_HTTP_JWT_KEY has {size} bytes, {name} needs {needed} (RFC 7518, 3.2)",
                    hint="make a secret: openssl rand -base64 48",
                )

    def caller(self, connection: HTTPConnection) -> Caller:
        """Return the caller that the JWT names."""
        try:
            claims = jwt.decode(
                _token(connection.headers),
                self._key,
                algorithms=self._algorithms,
                audience=self._audience,
                leeway=_LEEWAY,
                options={"require": ["exp", "sub"]},
            )
            role = Role(claims.get("role", Role.USER))
            found = Caller(_user(claims["sub"]), role, _team(claims.get("team")))
        except (jwt.PyJWTError, ValueError) as error:
            raise Refused(401, "Unauthorized", f"the token is not valid: {error}", _HINT) from None
        return _acting(found, connection.headers)


_HINT: Final = "send the header Authorization: Bearer <token>"


def _token(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refused(401, "Unauthorized", "the request has no token", _HINT)
    return token.strip()


def _acting(found: Caller, headers: Headers) -> Caller:
    """Return the effective caller: a service acts for the user that it names.

    Raises:
        Refused: 403; the role may not name another user.
    """
    named = _named_user(headers)
    if named is None or named == found.user_id:
        return found
    if found.role is not Role.SERVICE:
        raise Refused(
            403,
            "Forbidden",
            f"the role {found.role.value} may not act for another user",
            "leave out X-User-Id, or send the token of a service",
        )
    return Caller(named, Role.USER, _named_team(headers))


def _named_user(headers: Headers) -> str | None:
    named = headers.get(_USER_HEADER)
    return _user(named) if named else None


def _named_team(headers: Headers) -> str | None:
    return _team(headers.get(_TEAM_HEADER) or None)


def _team(name: object) -> str | None:
    """Return the name of a team, if it is valid.

    Raises:
        Refused: 401; it is not valid.
    """
    try:
        return text_of("the team", name)
    except FlowqError as error:
        raise Refused(401, "Unauthorized", error.message, error.hint) from None


def _user(name: object) -> str:
    """Return the name of a user, if it is valid.

    Raises:
        Refused: 401; it is not valid.
    """
    try:
        return text_of("the user", name) or LOCAL_USER
    except FlowqError as error:
        raise Refused(401, "Unauthorized", error.message, error.hint) from None


def _lines(text: str) -> Iterable[tuple[str, Caller]]:
    """Yield the tokens of a file."""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        digest = words[0].lower()
        is_digest = len(digest) == 64 and set(digest) <= set("0123456789abcdef")
        if not is_digest or len(words) not in (3, 4) or words[2] not in set(Role):
            raise InvalidSetting(
                f"line {number} of FLOWQ_HTTP_TOKENS_FILE is no token",
                hint="<SHA-256 of the token> <user> <role> [team]; the SHA-256 of a token: "
                "printf %s TOKEN | sha256sum",
            )
        yield digest, Caller(words[1], Role(words[2]), words[3] if len(words) == 4 else None)


def _named(headers: Headers) -> str:
    """Return the host that the client has used."""
    return headers.get("host", "")


def _host(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
