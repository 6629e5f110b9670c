"""The OpenAPI document says what the service does: schemathesis asks it all that it allows."""

from contextlib import suppress
from typing import Any, Final

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import BaseModel
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from flowq import flow, step
from flowq.engine.registry.registry import registry
from flowq.entrypoints.http.app import create_app
from flowq.entrypoints.http.settings import HttpSettings
from tests.tools.http_service import client
from tests.tools.playing import Stage

#: The same requests in each run of the suite: a new one that fails would be nobody's fault.
ASKED = settings(
    max_examples=4,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: What a schema of a text says that any text or nearly any one meets. Wrong ones are so rare that
#: schemathesis finds none of them in hundreds of attempts.
OF_TEXTS: Final = {"type", "title", "description", "minLength", "maxLength", "pattern"}
#: Texts that the names in paths do not allow, as they stand in a path.
WRONG_NAMES: Final = ("x" * 201, "%00")


class Order(BaseModel):
    number: int
    notes: list[str] = []


@step
def count(order: Order) -> int:
    return len(order.notes)


@flow(name="tests.http.order")
def order(order: Order, urgent: bool = False) -> int:  # noqa: FBT001, FBT002
    """Count the notes of an order."""
    return count(order)


@pytest.fixture(autouse=True)
def _only_this_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flows of other tests are not described: there are hundreds."""
    monkeypatch.setattr(registry, "flows", {order.type.name: order.type})


def test_flows_are_listed_with_their_inputs(played: Stage) -> None:
    flows = {each["name"]: each["inputs"] for each in client().get("/api/flows").json()["flows"]}

    inputs = flows["tests.http.order"]
    assert ["order"] == inputs["required"]
    assert {"type": "boolean", "default": False} == inputs["properties"]["urgent"]
    assert "integer" == inputs["properties"]["order"]["properties"]["number"]["type"]


def test_each_flow_has_a_path_with_its_inputs(played: Stage) -> None:
    document = client().get("/openapi.json").json()
    operation = document["paths"]["/api/flows/tests.http.order/runs"]["post"]
    body = operation["requestBody"]["content"]["application/json"]["schema"]

    assert {"order", "urgent"} == set(body["properties"]["inputs"]["properties"])
    frame = document["paths"]["/api/runs/{run_id}/events"]["get"]["responses"]["200"]["content"]
    assert "STEP_COMPLETED" in str(frame["text/event-stream"]["itemSchema"])
    assert "StepCompleted" in document["components"]["schemas"]


def test_every_request_has_an_answer_that_is_documented(played: Stage) -> None:
    app = create_app(HttpSettings(http_insecure=True))
    paths = app.openapi()["paths"]
    asked = []
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        asked.append(operation.label)
        ask(operation, GenerationMode.POSITIVE)
        texts = texts_of_path(paths[operation.path][operation.method])
        if texts is None:
            # There is no wrong request to what has neither parameters nor a body.
            with suppress(Unsatisfiable):
                ask(operation, GenerationMode.NEGATIVE)
        else:
            ask_wrong_texts(operation, texts)
    assert "POST /api/flows/tests.http.order/runs" in asked
    assert len(asked) >= 15


def ask(operation: Any, mode: GenerationMode) -> None:
    """Ask some requests that are right, or wrong."""

    @ASKED
    @given(case=operation.as_strategy(mode))
    def asking(case: Any) -> None:
        # A flow has the last word on its inputs: it reads "1" as a number, and may refuse
        # what its schema allows.
        of_flow = [negative_data_rejection] if case.path.startswith("/api/flows/") else []
        case.call_and_validate(excluded_checks=[positive_data_acceptance, *of_flow])

    asking()


def texts_of_path(operation: dict[str, Any]) -> dict[str, dict[str, Any]] | None:
    """Return the parameters of an operation, if these are texts in its path and all it takes."""
    parameters = operation.get("parameters", [])
    texts = all(one["in"] == "path" and one["schema"].keys() <= OF_TEXTS for one in parameters)
    if not parameters or not texts or "requestBody" in operation:
        return None
    return {one["name"]: one["schema"] for one in parameters}


def ask_wrong_texts(operation: Any, texts: dict[str, dict[str, Any]]) -> None:
    """Make each text wrong that can be, in each way in which it can be."""
    for name, schema in texts.items():
        assert ("maxLength" in schema) == ("pattern" in schema), name
        if "maxLength" in schema:
            assert (200, r"^[^\x00]+$") == (schema["maxLength"], schema["pattern"])
            for wrong in WRONG_NAMES:
                case = operation.Case(path_parameters=dict.fromkeys(texts, "x") | {name: wrong})
                response = case.call_and_validate(excluded_checks=[positive_data_acceptance])
                assert response.status_code in {404, 422}, (operation.label, response.text)
