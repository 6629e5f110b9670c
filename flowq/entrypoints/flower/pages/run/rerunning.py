"""The form of a rerun: from which step, with which inputs, and what that would do.

The inputs are those of the run, as JSON, where contents may be shown and this Flower knows the
flow. What is typed is compared with them, so that inputs that nobody has changed stay as they were
recorded. The preview compares all steps of two runs; it is made when somebody asks for it. A form
that is sent twice starts one rerun: its id and what is typed are parts of the idempotency key.
"""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from hashlib import sha256
from typing import Any, Final
from uuid import uuid4

from flowq.client import Run
from flowq.core.errors import InvalidInput
from flowq.core.names import is_own
from flowq.core.text.json_reading import loads
from flowq.core.text.json_values import unmarked
from flowq.engine.model.reruns import RerunPreview
from flowq.engine.model.rows import RunView
from flowq.engine.registry.registry import registry
from flowq.engine.registry.user_errors import user_errors
from flowq.engine.runs.options import same_json

Form = Mapping[str, str]
#: Characters of the id of a form.
_MAX_ID: Final = 40


def takes_inputs(run: RunView) -> bool:
    """Return whether this process can replace the inputs of a run: it knows the flow."""
    name = run.flow_name
    return isinstance(run.inputs, dict) and name in registry.flows and not is_own(name)


def shown_inputs(run: RunView) -> str:
    """Return the inputs of a run as JSON text for people."""
    return json.dumps(unmarked(run.inputs), indent=2, ensure_ascii=False)


def rerun(run: Run[Any], form: Form) -> Run[Any]:
    """Rerun a run as a form says; raises what `Run.rerun` raises.

    Raises:
        InvalidInput: also if the function of the flow raised.
    """
    typed = json.dumps([form["from_step"], form["inputs"]]).encode()
    key = _key_of(f"{form['form']} {sha256(typed).hexdigest()[:16]}", run)
    with _errors_of(run):
        return run.rerun(**_arguments(run, form), idempotency_key=key)


def rerun_as_it_was(run: Run[Any], form: str) -> Run[Any]:
    """Rerun a run, with others, by a form of this id; raises what `rerun` raises."""
    with _errors_of(run):
        return run.rerun(idempotency_key=_key_of(form, run))


def form_id(given: str) -> str:
    """Return the id of a form that was sent, or a new one."""
    return given[:_MAX_ID] or uuid4().hex


def _key_of(form: str, run: Run[Any]) -> str:
    """Return the idempotency key of the rerun of a run that a form of this id starts."""
    return f"flower {form} {run.id}"


def preview(run: Run[Any], form: Form) -> RerunPreview:
    """Return what `rerun` would do with this form; raises what it raises."""
    with _errors_of(run):
        return run.rerun_preview(**_arguments(run, form))


def _errors_of(run: Run[Any]) -> AbstractContextManager[None]:
    return user_errors(registry.flows.get(run.flow_name), shows_content=False)


def _arguments(run: Run[Any], form: Form) -> dict[str, Any]:
    text = form["inputs"].strip()
    inputs = others(text, unmarked(run.view().inputs)) if text else None
    return {"from_step": form["from_step"].strip() or None, "inputs": inputs or None}


def others(text: str, recorded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs of a JSON text that differ from the recorded ones.

    Raises:
        InvalidInput: it is not a JSON object.
    """
    try:
        given = loads(text)
    except json.JSONDecodeError as error:
        raise InvalidInput(
            f"the inputs are not JSON: {error}", hint="write them as an object: {…}"
        ) from None
    if not isinstance(given, dict):
        raise InvalidInput(
            f"the inputs are a JSON {type(given).__name__}, not an object",
            hint='write them by name: {"x": 1}',
        )
    return {
        name: value
        for name, value in given.items()
        if name not in recorded or not same_json(value, recorded[name])
    }
