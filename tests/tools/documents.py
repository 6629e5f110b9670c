"""Documents of blocks and edges for tests."""

import json
from collections.abc import Mapping
from typing import Any, Final

from flowq.blocks.submitting import submit
from flowq.core.states import RunState
from flowq.engine.advance.finish import output
from flowq.engine.model.rows import RunView
from tests.tools.playing import Stage

Edge = dict[str, Any]


def text(content: Any, **more: Any) -> dict[str, Any]:
    """Return a block with a content."""
    return {"label": "", "type": "text", "data": {"content": content}, **more}


def modify(kind: str, inputs: Mapping[str, str], outputs: Mapping[str, str], **more: Any) -> Edge:
    """Return an edge of type `modify`."""
    data = {"modify_type": kind, "inputs": dict(inputs), "outputs": dict(outputs), **more}
    return {"type": "modify", "data": data}


def failing(inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Edge:
    """Return an edge that fails with 3802 if its input is a text that is no data."""
    data = {"block_type": "structured", "inputs": dict(inputs), "outputs": dict(outputs)}
    return {"type": "load", "data": data}


def document(edges: Mapping[str, Edge], contents: Mapping[str, Any]) -> dict[str, Any]:
    """Return a document whose blocks have these contents, or are these blocks."""
    blocks = {
        key: one if isinstance(one, dict) and "data" in one else text(one)
        for key, one in contents.items()
    }
    return {"version": "0.2", "blocks": blocks, "edges": dict(edges)}


def play(stage: Stage, data: Mapping[str, Any], **options: Any) -> RunView:
    """Submit a document and do all that it leads to."""
    run = submit(json.dumps(data), engine=stage.engine, **options)
    stage.dispatcher.run(stage.engine)
    view = stage.engine.records.autocommit(lambda tx: tx.runs.view(run.id))
    assert view is not None
    return view


def result(stage: Stage, view: RunView) -> Any:
    """Return the contents that a run has made."""
    assert view.status is RunState.COMPLETED, view.error
    return output(stage.engine, stage.engine.definitions.get(view.id).definition)


#: Three edges on two levels.
HELLO: Final = {
    "version": "0.2",
    "blocks": {
        "1": {"label": "name", "type": "text", "data": {"content": "Ada"}},
        "2": {"label": "tags", "type": "text", "data": {"content": "red, green,,blue"}},
        "3": {"label": "hello", "type": "text", "data": {"content": ""}},
        "4": {"label": "list", "type": "structured", "data": {"content": ""}},
        "5": {"label": "first", "type": "text", "data": {"content": ""}},
    },
    "edges": {
        "greet": modify("edit_text", {"1": "name"}, {"3": "hello"}, content="Hello {{name}}!"),
        "split": modify(
            "convert2structured",
            {"2": "tags"},
            {"4": "list"},
            content="{{tags}}",
            extra_configs={"conversion_mode": "split_by_character", "list_separator": [","]},
        ),
        "pick": modify(
            "edit_structured",
            {"4": "list"},
            {"5": "first"},
            content="{{list}}",
            extra_configs={"operations": [{"type": "get", "params": {"path": [0]}}]},
        ),
    },
}
#: What v1 sends of a run of `HELLO`, with ids and times masked.
HELLO_FRAMES: Final = (
    'data: {"data": {"data": {"3": "Hello Ada!", "4": ["red", "green", "blue"]}, '
    '"is_complete": false, "yield_count": 2}, "is_complete": false, "yield_count": 1}\n\n'
    'data: {"data": {"data": {"5": "red"}, "is_complete": false, "yield_count": 1}, '
    '"is_complete": false, "yield_count": 2}\n\n'
    'data: {"is_complete": true, "user_id": "local-user", "total_yields": 2, "task_status": '
    '{"task_id": "ID", "status": "COMPLETED", "start_time": "TIME", "end_time": "TIME", '
    '"error_message": null, "total_blocks": 5, "processed_blocks": 5, '
    '"progress_percentage": 100.0}}\n\n'
)
