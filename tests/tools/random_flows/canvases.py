"""Random canvases: trees of one Celery task, as JSON data that plain Python evaluates.

    {"op": "add", "number": n, "fails": f}      adds all that it is given to a number
    {"op": "chain", "parts": […]}               each part gets the result of the one before
    {"op": "chord", "parts": […], "body": …}    each part gets the same, the body all results

A task fails so many times by plan; Celery's own retries run it again.
"""

import random
from typing import Any, Final

from celery import Celery, chain, chord

from flowq.canvas import durable
from tests.tools.random_flows import programs

Tree = dict[str, Any]

app: Final = Celery("random_canvases", set_as_current=False)
#: How often a task is tried.
TRIES: Final = 2


@app.task(autoretry_for=(ValueError,), max_retries=TRIES - 1, default_retry_delay=1)
def add(*given: Any, fails: int) -> int:
    programs.attempt(fails)
    return sum(programs.flatten(list(given)))


def inputs_of(tree: Tree) -> dict[str, Any]:
    """Return the inputs of the program that runs a canvas; `app` must be the process's app."""
    return {"canvas": durable(_signature(tree)).plan.to_json()}


def _signature(tree: Tree) -> Any:
    if tree["op"] == "add":
        return add.s(tree["number"], fails=tree["fails"])
    parts = [_signature(one) for one in tree["parts"]]
    return chain(*parts) if tree["op"] == "chain" else chord(parts, _signature(tree["body"]))


def evaluate(tree: Tree, given: Any = 0, *, is_mended: bool = False) -> int | None:
    """Return the result of a canvas; None: one of its tasks fails for good."""
    if tree["op"] == "add":
        fails = 0 if is_mended else tree["fails"]
        return None if fails >= TRIES else sum(programs.flatten([given, tree["number"]]))
    if tree["op"] == "chain":
        for part in tree["parts"]:
            given = evaluate(part, given, is_mended=is_mended)
            if given is None:
                return None
        return int(given)
    values = [evaluate(part, given, is_mended=is_mended) for part in tree["parts"]]
    return None if None in values else evaluate(tree["body"], values, is_mended=is_mended)


def random_tree(chance: random.Random, depth: int = 2) -> Tree:
    """Make one; chords in chords are common."""
    op = chance.choice(["chain", "chord", "chord"]) if depth else "add"
    if op == "add" or chance.random() < 0.3:
        fails = chance.choice([1, 2]) if chance.random() < 0.2 else 0
        return {"op": "add", "number": chance.randint(0, 9), "fails": fails}
    parts = [random_tree(chance, depth - 1) for _ in range(chance.randint(2, 3))]
    if op == "chain":
        return {"op": op, "parts": parts}
    return {"op": op, "parts": parts, "body": random_tree(chance, 0)}
