"""Documents whose every edge leaves a line in the effects ledger, and the server for them."""

import time
from typing import Any

from fastapi import FastAPI

from flowq.blocks import edge_type
from flowq.entrypoints.http.app import create_app
from tests.chaos.harness.flows import effect


@edge_type("chaos")
def longer(config: dict[str, Any], contents: dict[str, Any]) -> str:
    """Return the content of the one input with an `x` behind it, after a while."""
    effect()
    time.sleep(config["pause"])
    return f"{contents['it']}x"


def chain(length: int, pause: float) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a document of edges one after the other, and the contents that they make."""
    blocks = {
        str(number): {"type": "text", "data": {"content": ""}} for number in range(length + 1)
    }
    edges = {
        f"e{number}": {
            "type": "chaos",
            "data": {
                "pause": pause,
                "inputs": {str(number): "it"},
                "outputs": {str(number + 1): "it"},
            },
        }
        for number in range(length)
    }
    return {"blocks": blocks, "edges": edges}, {str(n): "x" * n for n in range(1, length + 1)}


def make() -> FastAPI:
    """Return the app; for `uvicorn --factory`."""
    return create_app()
