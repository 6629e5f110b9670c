"""All processes of an installation count the executions of a user together."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.session.processes import Process

ROOT = Path(__file__).parents[3]
#: Executes as often as it is asked to; prints the server's time before and after each that passed.
CALLER = """
import asyncio, json, sys
from flowq import bootstrap
from flowq.pipeline import *

calls, seconds = int(sys.argv[1]), float(sys.argv[2])
pipeline = WorkflowPipeline(SimpleExecutor(recorded=False)).use(
    RateLimitingMiddleware(max_requests=60, window_seconds=seconds))
work = NodeWorkflow("chat", [Node("nothing", lambda state: None)])
client = bootstrap.redis_client()

def now():
    seconds, micros = client.time()
    return seconds * 1_000_000 + micros

async def main():
    passed = []
    for _ in range(calls):
        before = now()
        try:
            await pipeline.execute(work, ExecutionContext("chat", "ann"))
        except RateLimitExceeded:
            continue
        passed.append((before, now()))
    print(json.dumps(passed))

import logging
logging.disable(logging.ERROR)
print("ready", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


@pytest.mark.parametrize("calls, seconds", [(100, 600.0), (600, 0.4)])
def test_no_window_has_more_than_60(
    redis_url: str, tmp_path: Path, calls: int, seconds: float
) -> None:
    environment = {
        **os.environ,
        "FLOWQ_REDIS_URL": redis_url,
        "FLOWQ_HOME": str(tmp_path / "home"),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", CALLER, str(calls), str(seconds)]
    callers = [
        Process(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=tmp_path,
            text=True,
        )
        for _ in range(4)
    ]
    for one in callers:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in callers:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    printed = [one.communicate(timeout=120)[0] for one in callers]

    passed = sorted(tuple(pair) for text in printed for pair in json.loads(text))
    if seconds > 60:
        assert 60 == len(passed)
    else:
        assert len(passed) >= 60
    # 61 that have certainly passed within less than a window are too many.
    for at in range(len(passed) - 60):
        latest = max(after for _, after in passed[at : at + 61])
        assert latest - passed[at][0] >= seconds * 1_000_000
