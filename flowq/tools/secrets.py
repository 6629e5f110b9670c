"""Secrets of playbooks: names in documents and rows, values in the tool that needs them.

`FLOWQ_CREDENTIALS` gives credentials by name, and `FLOWQ_PLAYBOOK_ENV` lists environment variables.
A handle is a text that stands for a secret in results of steps. It is signed with the secret
itself, so a text from outside that looks like one (in an HTTP response) is not resolved.
Whatever a call has resolved is masked in what it says and returns.
"""

import hashlib
import hmac
import json
import os
import re
import stat
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from flowq.core.errors import InvalidSetting, StepError
from flowq.tools.masking import Mask
from flowq.tools.text import MISSING

_HANDLE: Final = re.compile(r"flowq-secret:(env|credential):([A-Za-z0-9_.-]{1,100}):([0-9a-f]{32})")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,100}")
_HINT: Final = "FLOWQ_CREDENTIALS and FLOWQ_PLAYBOOK_ENV say what playbooks may use"


class SecretMissing(StepError):
    """No secret or credential has this name here."""


class Secrets:
    """What one call of a tool may use, and what it has used.

    Args:
        credentials: A JSON file, or `module:object`; empty for none.
        variables: Names of environment variables.
    """

    def __init__(self, credentials: str = "", variables: str = "") -> None:
        self._credentials = credentials
        self._variables = frozenset(re.split(r"[,\s]+", variables)) - {""}
        self._mask = Mask()

    def credential(self, name: str) -> Mapping[str, Any]:
        """Return the fields of a credential.

        Raises:
            SecretMissing: there is none of that name.
            InvalidSetting: the credentials cannot be read.
        """
        found = _loaded(self._credentials).get(name)
        if not isinstance(found, Mapping):
            raise SecretMissing(f"there is no credential {name[:100]!r}", hint=_HINT)
        self._mask.add(found)
        return found

    def secret(self, name: str) -> str | None:
        """Return an environment variable, or the `value` of a credential; None if there is none."""
        value = os.environ.get(name) if name in self._variables else None
        if value is None and name in _loaded(self._credentials):
            value = self.credential(name).get("value")
        return self.hide(value) if isinstance(value, str) else None

    def handle(self, provider: str, name: str) -> str | None:
        """Return a text that stands for a secret; None if there is none."""
        value = self._value(provider, name)
        if value is None or _NAME.fullmatch(name) is None:
            return None
        return f"flowq-secret:{provider}:{name}:{_signature(value, provider, name)}"

    def resolved(self, value: Any) -> Any:
        """Return JSON with secrets in place of their handles.

        Raises:
            SecretMissing: a secret has been changed or removed since its handle was made.
        """
        if isinstance(value, str):
            return _HANDLE.sub(self._resolve, value) if "flowq-secret:" in value else value
        if isinstance(value, list):
            return [self.resolved(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self.resolved(item) for key, item in value.items()}
        return value

    def masked(self, value: Any) -> Any:
        """Return JSON without the secrets that were used."""
        return self._mask.masked(value)

    @property
    def are_used(self) -> bool:
        """Whether a secret was used."""
        return bool(self._mask)

    def hide(self, text: str) -> str:
        """Return a text that was made of a secret; it is masked as the secret is."""
        self._mask.add(text)
        return text

    def _resolve(self, found: re.Match[str]) -> str:
        provider, name, signature = found.groups()
        value = self._value(provider, name)
        if value is None:
            raise SecretMissing(f"there is no secret {name!r} any more", hint=_HINT)
        if not hmac.compare_digest(signature, _signature(value, provider, name)):
            raise SecretMissing(f"the handle of the secret {name!r} is not of its present value")
        return value

    def _value(self, provider: str, name: str) -> str | None:
        if provider == "env":
            return self.secret(name) if name in self._variables else None
        value = _loaded(self._credentials).get(name, {}).get("value")
        return self.hide(value) if isinstance(value, str) else None


class SecretNames(Mapping[str, Any]):
    """What templates see as `secret`: values by name, each looked up when it is asked for."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    def __flowq_get__(self, name: str | int) -> Any:
        value = self._secrets.secret(str(name))
        return MISSING if value is None else value

    def __flowq_value__(self) -> Any:
        raise SecretMissing("a secret is named: {{ secret.NAME }}")

    def __getitem__(self, name: str) -> Any:
        value = self._secrets.secret(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class CredentialNames(SecretNames):
    """What templates see as `auth` and `keychain`: the fields of credentials, by name."""

    def __flowq_get__(self, name: str | int) -> Any:
        return self._secrets.credential(str(name))

    def __getitem__(self, name: str) -> Any:
        return self._secrets.credential(name)


@lru_cache(maxsize=64)
def _signature(value: str, provider: str, name: str) -> str:
    # Slow on purpose: who reads a handle in a row must not find a weak secret by trying.
    salt = f"flowq {provider} {name}".encode()
    return hashlib.scrypt(value.encode(), salt=salt, n=2**14, r=8, p=1, dklen=16).hex()


def _loaded(place: str) -> Mapping[str, Any]:
    if not place:
        return {}
    module, colon, name = place.partition(":")
    if colon and "/" not in place:
        try:
            found = getattr(import_module(module), name)
        except (ImportError, AttributeError) as error:
            raise InvalidSetting(f"FLOWQ_CREDENTIALS cannot be imported: {error}") from error
        found = found() if callable(found) else found
    else:
        found = _read(Path(place))
    if not isinstance(found, Mapping):
        raise InvalidSetting("FLOWQ_CREDENTIALS does not give credentials by name")
    return found


def _read(file: Path) -> Any:
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSetting(f"FLOWQ_CREDENTIALS cannot be read: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise InvalidSetting(f"others may read the credentials in {file}", hint=f"chmod 600 {file}")
    try:
        return json.loads(text)
    except ValueError:
        raise InvalidSetting("FLOWQ_CREDENTIALS is not a file of JSON") from None
