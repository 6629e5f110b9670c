"""The settings of the HTTP service: the FLOWQ_HTTP_* variables (`flowq docs settings`)."""

from functools import cache
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from flowq.core.addresses.setting_errors import invalid_settings
from flowq.core.errors import InvalidSetting
from flowq.core.limits.slots import parse_rate

T = TypeVar("T")

_ALGORITHMS: Final = frozenset(
    {"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"}
)


class HttpSettings(BaseSettings):
    """Settings of one process of the HTTP service."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWQ_", frozen=True, env_ignore_empty=True, hide_input_in_errors=True
    )

    http_auth: Literal["local", "tokens", "jwt"] = Field(
        "local",
        description="Who may use the HTTP service: `local` everybody on this machine, `tokens` who "
        "has a token of FLOWQ_HTTP_TOKENS_FILE, `jwt` who has a JWT signed with "
        "FLOWQ_HTTP_JWT_KEY.",
    )
    http_insecure: bool = Field(
        False,
        description="With `local`, whether clients on other machines are answered too: they need "
        "no token.",
    )
    http_tokens_file: Path | None = Field(
        None,
        validate_default=True,
        description="File of tokens, a line each: `<SHA-256 of the token> <user> <role> [team]`; "
        "the role is `user`, `service` or `admin`. It is read again when it changes; if it is "
        "wrong then, the tokens from before stay valid.",
    )
    http_jwt_key: SecretStr | None = Field(
        None,
        validate_default=True,
        description="Secret, or public key as PEM, that JWTs are checked with. With HS256 a secret "
        "has at least 32 bytes.",
    )
    http_jwt_algorithms: str = Field(
        "HS256", description="Algorithms that a JWT may be signed with: `RS256, ES256`."
    )
    http_jwt_audience: str | None = Field(
        None, description="What `aud` of a JWT has to be. None: a JWT has no `aud`."
    )
    http_cors_origins: str = Field(
        "", description="Web pages that may use the service: `https://app.example.com, …`."
    )
    http_body_bytes: int = Field(
        64 * 1024 * 1024, gt=0, description="Largest body of a request, in bytes."
    )
    http_streams: int = Field(
        1_000, gt=0, description="How many event streams one process sends at once."
    )
    http_rate: str | None = Field(
        None,
        description="How many requests each user may send: `600/minute`. So many may come at once. "
        "None: any number.",
    )
    http_usage: str | None = Field(
        None,
        description="A function, `module:name`, that is called before each task and returns how "
        "many edges a user may still run. None: the user's budget for the month decides.",
    )
    http_v1_blocks: bool = Field(
        False,
        description="Whether data frames of v1 hold each whole block, with label and type, beside "
        "the contents.",
    )

    @field_validator("http_jwt_algorithms")
    @classmethod
    def _known(cls, text: str) -> str:
        names = listed(text)
        if not names or not set(names) <= _ALGORITHMS:
            raise InvalidSetting(
                f"is {text!r}", hint=f"give one or several of: {', '.join(sorted(_ALGORITHMS))}"
            )
        kinds = {name.startswith("HS") for name in names}
        if len(kinds) == 2:
            raise InvalidSetting(
                f"is {text!r}: a key is a secret or public, not both",
                hint="give either HS… algorithms, or the others",
            )
        return text

    @field_validator("http_rate")
    @classmethod
    def _rate(cls, text: str | None) -> str | None:
        if text is not None:
            try:
                number, _, tokens = parse_rate(text)
            except ValueError:
                number, tokens = 0, False
            if tokens or not number:
                raise InvalidSetting(f"is {text!r}, no rate", hint="give e.g. 600/minute")
        return text

    @field_validator("http_cors_origins")
    @classmethod
    def _origins(cls, text: str) -> str:
        if "*" in listed(text):
            raise InvalidSetting("is '*', every page of the web", hint="name your own pages")
        return text

    # One validator for each: pydantic 2.12 does not say the name of a field that has its default.
    @field_validator("http_tokens_file")
    @classmethod
    def _tokens_file(cls, file: Path | None, info: ValidationInfo) -> Path | None:
        return _needed(file, "tokens", info)

    @field_validator("http_jwt_key")
    @classmethod
    def _jwt_key(cls, key: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        return _needed(key, "jwt", info)


def _needed(value: T, method: str, info: ValidationInfo) -> T:
    if value is None and info.data.get("http_auth") == method:
        raise InvalidSetting(
            f"is needed with FLOWQ_HTTP_AUTH={method}",
            hint="type: flowq docs http (Who may use it)",
        )
    return value


def listed(text: str) -> list[str]:
    """Return the parts of a setting that lists them with commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


@cache
def http_settings() -> HttpSettings:
    """Return the settings of this process, read once.

    Raises:
        InvalidSetting: some of them are invalid.
    """
    try:
        return HttpSettings()
    except ValidationError as error:
        raise invalid_settings(error) from None
