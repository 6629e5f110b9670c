"""Completes the OpenAPI document of FastAPI with each flow, its inputs, and the frames of streams.

Each flow has a path of its own in the document, since its inputs have their own types. It is the
same route as the general one.
"""

from collections.abc import Callable
from typing import Any, Final

from fastapi import FastAPI
from pydantic import TypeAdapter

from flowq.core.errors import FlowqError
from flowq.core.events import NAMES
from flowq.engine.registry.registry import RegisteredFlow
from flowq.entrypoints.http.runs.flows import startable
from flowq.entrypoints.http.runs.models import AnyEvent

_REFS: Final = "#/components/schemas/{model}"
_START: Final = "/api/flows/{name}/runs"


def documented(app: FastAPI) -> Callable[[], dict[str, Any]]:
    """Return a function that makes the OpenAPI document of an app, for `app.openapi`."""
    derive = app.openapi

    def document() -> dict[str, Any]:
        app.openapi_schema = None  # flows may have been imported meanwhile
        found = derive()
        schemas = found["components"]["schemas"]
        for flow in startable().values():
            path = _START.replace("{name}", flow.name)
            if "{" not in flow.name:
                found["paths"][path] = {
                    "post": _start(found["paths"][_START]["post"], flow, schemas)
                }
        _describe_frames(found["paths"]["/api/runs/{run_id}/events"]["get"], schemas)
        return found

    return document


def _start(general: dict[str, Any], flow: RegisteredFlow, schemas: dict[str, Any]) -> Any:
    """Return the operation that starts a run of one flow."""
    try:
        inputs = flow.input_schema(_REFS)
    except FlowqError:  # its annotations are wrong; the error comes at its start
        return general
    schemas |= inputs.pop("$defs", {})
    body = schemas["NewRun"]
    typed = {**body, "title": f"NewRun of {flow.name}"}
    typed["properties"] = {**body["properties"], "inputs": inputs}
    if inputs.get("required"):
        typed["required"] = ["inputs"]
    content = {"application/json": {"schema": typed}}
    return {
        **general,
        "operationId": f"start_{flow.name}",
        "summary": f"Start {flow.name}",
        "parameters": [],
        "requestBody": {"required": True, "content": content},
    }


def _describe_frames(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    event = TypeAdapter[Any](AnyEvent).json_schema(ref_template=_REFS, mode="serialization")
    schemas |= event.pop("$defs", {})
    schemas["Event"] = event
    data = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"$ref": _REFS.format(model="Event")},
    }
    frame = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": list(NAMES.values())},
            "id": {"type": "string"},
            "data": data,
        },
    }
    problem = {"application/json": {"schema": {"$ref": _REFS.format(model="Problem")}}}
    for status, answer in operation["responses"].items():
        if int(status) >= 400:
            answer["content"] = problem
    operation["responses"]["200"]["content"] = {"text/event-stream": {"itemSchema": frame}}
