"""Playbooks beside the same work in Python: time, and CPU time of the worker.

Each pair of works takes turns on one worker; the ratio is the middle one of those of the rounds.
Other programs on the machine change the time from round to round, the CPU time less.
"""

import json
import os
import statistics
import time
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any
from uuid import uuid4

from benchmarks import flows, servers, service
from benchmarks.turns import Row, in_turns
from flowq import Run, bootstrap
from flowq.engine.attempts.programs.history import recording
from flowq.playbooks import Playbook
from flowq.playbooks.running.log import replayed

ROUNDS = 9
STARTS = 200

NOOP: Mapping[str, Any] = {"kind": "noop"}
CODE: Mapping[str, Any] = {"kind": "python", "code": "result = n + 1"}


def document(*steps: Mapping[str, Any], name: str = "bench") -> Playbook:
    """Return a playbook of steps; those without a tool do nothing."""
    made = {
        "apiVersion": "noetl.io/v2",
        "kind": "Playbook",
        "metadata": {"name": name, "path": f"bench/{name}"},
        "workflow": [{"tool": NOOP, **step} for step in steps],
    }
    return Playbook.parse(json.dumps(made))  # YAML is a superset of JSON


def line(count: int) -> Playbook:
    """Return a playbook of steps that follow each other."""
    names = ["start", *[f"step {number}" for number in range(2, count + 1)]]
    steps = [{"step": one, "next": then} for one, then in pairwise(names)]
    return document(*steps, {"step": names[-1]}, name="line")


def loop(count: int, tool: Mapping[str, Any], mode: str = "parallel", most: int = 1000) -> Playbook:
    """Return a playbook that does something for each number."""
    given = {"in": list(range(count)), "iterator": "n", "mode": mode, "max_concurrency": most}
    step = {"step": "start", "loop": given, "tool": tool, "args": {"n": "{{ n }}"}}
    return document(step, name="loop")


def done(run: Run[Any]) -> Any:
    """Wait for a run and return its result."""
    return run.result(timeout=300)


def rows() -> Iterator[Row]:
    """Measure all, and give a line of the table after each."""
    load = os.getloadavg()[0]
    yield from _read()
    os.environ["FLOWQ_PLAYBOOK_PYTHON"] = "inline"
    with servers.worker("benchmarks.flows", "prefork", 2) as pid:
        yield from _steps(pid)
        yield from _loops(pid)
        yield from _replays()
    yield from _processes()
    yield from _starts()
    now = os.getloadavg()[0]
    yield ("processes that were ready or running", f"{load:.1f} before", f"{now:.1f} after", "", "")


def _read() -> Iterator[Row]:
    text = line(1_000).to_yaml()
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        Playbook.parse(text)
        times.append(time.process_time() - began)
    size = f"{len(text) / 1000:.0f} KB"
    taken = f"{1000 * statistics.median(times):.0f} ms CPU"
    yield ("read and check 1,000 steps", size, taken, "", "<= 1 s")


def _steps(pid: int) -> Iterator[Row]:
    book = line(100)

    def ours() -> object:
        return done(book.enqueue())

    program = in_turns((pid, pid), lambda: done(flows.program.enqueue(n=100)), ours, ROUNDS)
    yield program.row("100 noop, per step, against a program", 100, "<= 1.2x")
    chain = in_turns((pid, pid), lambda: done(flows.chain.enqueue(n=100)), ours, ROUNDS)
    yield chain.row("100 noop, per step, against a def chain", 100, "<= 3x")


def _loops(pid: int) -> Iterator[Row]:
    for most, target in ((1000, "<= 1.2x"), (50, "")):
        book = loop(1_000, CODE, most=most)
        pair = in_turns(
            (pid, pid),
            lambda: done(flows.mapped.enqueue(n=1_000)),
            lambda book=book: done(book.enqueue()),  # type: ignore[misc]
            ROUNDS,
        )
        yield pair.row(f"loop of 1,000 python, {most} at once, a map", 1_000, target)


def _replays() -> Iterator[Row]:
    run = loop(1_000, NOOP, "sequential").enqueue()
    beside = flows.program.enqueue(n=1_000)
    done(run)
    done(beside)
    engine = bootstrap.engine()

    def replay(one: Run[Any]) -> None:
        record = recording(engine, one.id)
        execution = record.execution(record.calls)
        try:
            execution.replay(record.history)
        finally:
            execution.close()

    none = (None, None)
    pair = in_turns(none, lambda: replay(beside), lambda: replay(run), ROUNDS)
    yield pair.row("replay of 1,000 calls, against a program", 1, "<= 1.5 s")
    log = in_turns(none, lambda: replay(run), lambda: replayed(engine, run.id), ROUNDS)
    yield log.row("log of 1,000 calls, against its replay", 1, "<= 1.5 s")


def _processes() -> Iterator[Row]:
    book, times = loop(200, CODE), {}
    for where in ("inline", "process"):
        os.environ["FLOWQ_PLAYBOOK_PYTHON"] = where
        with servers.worker("benchmarks.flows", "prefork", 2):
            done(book.enqueue())
            taken = []
            for _ in range(5):
                began = time.perf_counter()
                done(book.enqueue())
                taken.append(200 / (time.perf_counter() - began))
            times[where] = statistics.median(taken)
    shown = [f"{times[where]:.0f}/s" for where in ("inline", "process")]
    slower = f"{times['inline'] / times['process']:.1f}x"
    yield ("python in a process, against inline", *shown, slower, ">= 60/s")  # type: ignore[misc]


def _starts() -> Iterator[Row]:
    """Start executions over HTTP beside the Python client; no worker runs them."""
    with service.served() as served:
        text = line(1).to_yaml()
        served.ask("POST", "/api/v2/engine/register-playbook", {"playbook_yaml": text})

        def post() -> None:
            event = {"execution_id": str(uuid4()), "name": "workflow.start", "payload": {}}
            event["payload"] = {"path": "bench/line"}
            answer = json.loads(served.ask("POST", "/api/v2/events", event))
            assert answer["commands_generated"] == 1

        pair = in_turns((None, None), lambda: flows.program.enqueue(n=1), post, STARTS)
    p95 = [1000 * statistics.quantiles(times, n=20)[-1] for times in pair.times]
    shown = [f"{one:.1f} ms" for one in p95]
    yield ("workflow.start, p95, against enqueue", *shown, f"{p95[1] / p95[0]:.2f}x", "<= 3x")  # type: ignore[misc]
