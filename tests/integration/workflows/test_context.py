"""Values by reference: every kind comes back in another process, and nobody reads another's."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from flowq.adapters.records.database import SqlRecords
from flowq.core.errors import NotSerializable
from flowq.core.ids import RunId
from flowq.core.results import StorageKind
from flowq.engine.engine import Policies
from flowq.engine.runs import cancel
from flowq.engine.sweeper.invariants import missing_objects
from flowq.engine.sweeper.retention import collect
from flowq.workflows import InvalidWorkflow, RuntimeContext, WorkflowResult, WorkflowRunner
from tests.tools.playing import Stage
from tests.tools.workflows.samples import define_text, document, play


class Point(BaseModel):
    x: int


FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", None]})


def other(stage: Stage) -> RuntimeContext:
    """Return the context of an engine that shares the records and the stores only."""
    return RuntimeContext(engine=replace(stage.engine))


@pytest.mark.parametrize(
    "value",
    [None, 0, "", "text", [1, {"a": None}], {}, b"\x00\xff", "x" * 2_000_000, {"$ref": "x"}],
    ids=lambda value: repr(value)[:20],
)
def test_any_value_comes_back(stage: Stage, value: Any) -> None:
    context = RuntimeContext(engine=stage.engine)
    reference = context.put(value)

    assert value == other(stage).get(reference)
    assert reference != context.put(value)


def test_tables_arrays_and_models_come_back(stage: Stage) -> None:
    context = RuntimeContext(engine=stage.engine)

    assert FRAME.equals(other(stage).get(context.put(FRAME)))
    array = np.arange(6).reshape(2, 3)
    assert np.array_equal(array, other(stage).get(context.put(array)))
    assert {"x": 1} == other(stage).get(context.put(Point(x=1)))
    with pytest.raises(NotSerializable):
        context.put(object())


def test_a_large_value_is_an_object(stage: Stage) -> None:
    reference = RuntimeContext(engine=stage.engine).put("x" * 2_000_000)
    run_id = RunId(UUID(reference.split("/")[2]))
    spec = stage.engine.definitions.get(run_id).definition.spec

    assert StorageKind.OBJECT is spec.given["value"].place
    assert [] == missing_objects(stage.records, stage.engine.results)
    view = stage.records.autocommit(lambda tx: tx.runs.view(run_id))
    assert view is not None
    assert ("completed", 0) == (view.status, view.total)
    assert "completed" == cancel.cancel(stage.engine, run_id, None)


@pytest.mark.parametrize(
    "reference",
    [
        "flowq://nothing/value",
        "flowq://01a226d9-4639-76c2-8b9f-badcce1829b9/value",
        "flowq://01a226d9-4639-76c2-8b9f-badcce1829b9/../../etc/passwd",
        "file:///etc/passwd",
        "memory://1",
        "",
        None,
        7,
    ],
)
def test_a_reference_to_nothing_is_an_error(stage: Stage, reference: Any) -> None:
    with pytest.raises(ValueError, match="no value is stored under"):
        RuntimeContext(engine=stage.engine).get(reference)


def test_values_are_their_users(stage: Stage) -> None:
    define_text()
    reference = RuntimeContext(engine=stage.engine, user_id="ann").put("a b")
    bob = RuntimeContext(engine=stage.engine, user_id="bob")

    assert "a b" == RuntimeContext(engine=stage.engine).get(reference)
    with pytest.raises(ValueError, match="no value is stored under"):
        bob.get(reference)
    with pytest.raises(InvalidWorkflow, match="no value is stored under"):
        WorkflowRunner(bob).enqueue(document({"id": "tokenize"}), {"text": reference})


def test_references_are_inputs_of_workflows(stage: Stage) -> None:
    """As an input of a run, and in the document; the value of a step of an earlier run too."""
    define_text()
    context = RuntimeContext(engine=stage.engine)
    reference = context.put("To be or not to be")
    first = play(stage, document({"id": "tokenize"}), {"text": reference})
    assert ["to", "be", "or", "not", "to", "be"] == first.value("tokenize")

    count = {"id": "count_words", "inputs": {"words": first.outputs["tokenize"]}}
    second = play(stage, document(count))
    assert {"be": 2, "to": 2, "not": 1} == second.value("count_words")
    assert second.value("count_words") == context.get(second.outputs["count_words"])
    view = stage.records.autocommit(lambda tx: tx.runs.view(first.run_id))
    assert view is not None
    assert {"text": reference} == view.inputs["inputs"]


def test_a_context_in_memory_is_of_its_process() -> None:
    context = RuntimeContext(memory=True)
    value = object()
    reference = context.put(value)

    assert reference.startswith("memory://")
    assert value is context.get(reference)
    assert reference != context.put(value)
    with pytest.raises(ValueError, match="no value is stored under"):
        RuntimeContext(memory=True).get(reference)


def test_a_value_is_deleted_with_the_retention(records: SqlRecords) -> None:
    """The reference leads to nothing then; a run that has used it has its own copy."""
    define_text()
    stage = Stage.on(records, policies=Policies(retention=timedelta(seconds=-1)))
    context = RuntimeContext(engine=stage.engine)
    reference = context.put("x " * 1_000_000)
    run = WorkflowRunner(context).enqueue(document({"id": "tokenize"}), {"text": reference})
    collect(stage.engine)
    with pytest.raises(ValueError, match="no value is stored under"):
        context.get(reference)

    stage.dispatcher.run(stage.engine)
    result = WorkflowResult.of(run, engine=stage.engine)
    assert 1_000_000 == len(result.value("tokenize"))
