"""The tools of playbooks as step types: `flowq.tool.<kind>`, known to every worker.

Each gets the configuration and the arguments of a call, in which templates that need the worker are
left (`{"$text": …}`): secrets, blocks, the item of a map. They are rendered here, handles of
secrets are resolved, and what was used of them is masked in the result, in errors and in what is
logged. What a tool does is in `kinds`.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

from flowq.adapters import clock
from flowq.authoring.definitions.steps import Step, step
from flowq.core.errors import FlowqError, StepError
from flowq.engine.runtime.context import current_or_none
from flowq.engine.runtime.log_capture import log_here
from flowq.llm.caller import current_settings
from flowq.playbooks.control.commands import DATA, TEXT
from flowq.playbooks.control.values import made, shown
from flowq.playbooks.running.kinds.call import Call, failed
from flowq.tools.secrets import CredentialNames, SecretNames, Secrets
from flowq.tools.text import Function, compile_text, deeply_plain

PREFIX: Final = "flowq.tool."
_KINDS: Final = "flowq.playbooks.running.kinds"
#: Where the function of each kind is; its module is imported when it is called.
_FUNCTIONS: Final = {
    "noop": f"{_KINDS}.small:noop",
    "secrets": f"{_KINDS}.small:secrets",
    "step": f"{_KINDS}.small:registered",
    "llm": f"{_KINDS}.small:llm",
    "http": f"{_KINDS}.http:http",
    "python": f"{_KINDS}.python:python",
    "postgres": f"{_KINDS}.sql:postgres",
    "sqlite": f"{_KINDS}.sql:sqlite",
    "duckdb": f"{_KINDS}.sql:duckdb",
    "sql": f"{_KINDS}.sql:sql",
}


def _tool(kind: str) -> Step[..., Any]:
    """Return the step type of a kind of tools."""

    async def tool(
        config: Any, args: Any = None, context: Any = None, item: Any = None, iterator: Any = None
    ) -> Any:
        """Run a tool; with `iterator`, for one item of a map."""
        settings = current_settings()
        secrets = Secrets(settings.credentials, settings.playbook_env)
        log = log_here()
        if log is not None:
            log.mask = secrets.masked
        try:
            names = _names(secrets, iterator, item)
            call = Call(
                config=secrets.resolved(ready(config, names)),
                args=secrets.resolved(ready(args or {}, names)),
                context=context or {},
                settings=settings,
                secrets=secrets,
            )
            call.check_arguments()
            function = _function(kind)
            return secrets.masked(call.checked(await function(call)))
        except FlowqError as error:
            if not secrets.are_used:
                raise
            _mask(error, secrets)
            raise error from None
        except Exception as error:  # noqa: BLE001 - whatever it is, it may contain a secret
            # What a library says of a secret stays here: neither cause nor context.
            cause = None if secrets.are_used else error
            raise failed(type(error).__name__, secrets.masked(str(error))) from cause

    tool.__name__ = tool.__qualname__ = kind
    return step(name=f"{PREFIX}{kind}")(tool)


def _function(kind: str) -> Callable[[Call], Any]:
    module, _, name = _FUNCTIONS[kind].partition(":")
    found: Callable[[Call], Any] = getattr(import_module(module), name)
    return found


def _names(secrets: Secrets, iterator: str | None, item: Any) -> dict[str, Any]:
    credentials = CredentialNames(secrets)
    names: dict[str, Any] = {
        "secret": SecretNames(secrets),
        "auth": credentials,
        "keychain": credentials,
        "now": Function(clock.now),
        "uuid": Function(lambda: str(clock.uuid())),
    }
    if iterator is None:
        return names
    attempt = current_or_none()
    index = attempt.index if attempt is not None and attempt.index is not None else 0
    loop = {"index": index, "first": index == 0}
    return names | {iterator: item, "loop_index": index, "loop": loop}


def ready(value: Any, names: Mapping[str, Any]) -> Any:
    """Return JSON with the templates rendered that were left for the worker, see `carried`.

    What stands below `$data` came from outside, and is no template whatever it looks like.

    Args:
        value: The configuration or arguments of a call.
        names: What every template may use; they hide a template's own names.

    Raises:
        TemplateFailed: one cannot be rendered.
    """
    if isinstance(value, list):
        return [ready(item, names) for item in value]
    if not isinstance(value, Mapping):
        return value
    if value.keys() == {DATA}:
        return value[DATA]
    if TEXT in value:
        known = {
            name: shown(item) if name in value.get("results", ()) else made(item)
            for name, item in ready(value["names"], names).items()
        }
        text = compile_text(value[TEXT], blocks=True)
        return deeply_plain(text.render({**known, **names}))
    return {key: ready(item, names) for key, item in value.items()}


def _mask(error: FlowqError, secrets: Secrets) -> None:
    """Mask the secrets in all that an error says."""
    error.message = secrets.masked(error.message)
    error.hint = secrets.masked(error.hint)
    error.args = (error.message,)
    if isinstance(error, StepError):
        error.details = secrets.masked(error.details)


TOOLS: Final[Mapping[str, Step[..., Any]]] = {kind: _tool(kind) for kind in _FUNCTIONS}
