"""The sample flow, as a newcomer meets it: a plain `celery worker`, a run, its report.

What it reports is compared with the tokens of the same files, counted here without `ast`.
"""

import csv
import json
import os
import shutil
import sys
import sysconfig
import tokenize
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.commands import python
from tests.tools import servers
from tests.tools.waiting import wait_until

ROOT = Path(__file__).parents[3]
PACKAGES = ["asyncio", "email", "json"]

SUBMIT = "from examples.codebase import codebase; print(codebase.enqueue(folder={!r}).id)"
RESULT = """
import json
import examples.codebase
import flowq
from pydantic import TypeAdapter
run = flowq.Run.get({!r})
report = run.result(timeout=60)
assert isinstance(report, examples.codebase.Report)
steps = [(s.key, s.status, s.attempts, dict(s.counts)) for s in run.view().steps]
print(json.dumps([TypeAdapter(type(report)).dump_python(report, mode="json"), steps]))
"""


@dataclass
class Finished:
    """A run that has ended, and where everything lies."""

    folder: Path
    results: Path
    report: dict[str, Any]
    steps: dict[str, Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Some of the standard library, and a file that is no Python."""
    folder = tmp_path / "code"
    for package in PACKAGES:
        shutil.copytree(
            Path(sysconfig.get_path("stdlib"), package),
            folder / package,
            ignore=shutil.ignore_patterns("__pycache__"),
        )
    (folder / "broken.py").write_text("def broken(:\n")
    return folder


@pytest.fixture
def environment(tmp_path: Path, redis_url: str, sqlite_url: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("FLOWQ_")}
    return own | {
        "FLOWQ_REDIS_URL": redis_url,
        "FLOWQ_DATABASE_URL": sqlite_url,
        "FLOWQ_RESULTS_URL": (tmp_path / "results").as_uri(),
        # The table of three packages is not as large as that of the whole library.
        "FLOWQ_RESULT_THRESHOLD_BYTES": str(64 * 1024),
    }


@pytest.fixture
def worker(tmp_path: Path, environment: dict[str, str]) -> Iterator[None]:
    """A worker that runs as the head of the example says."""
    log = tmp_path / "worker.log"
    command = [sys.executable, "-m", "celery", "-A", "examples.codebase", "worker"]
    command += ["--concurrency", "2", "--loglevel", "INFO"]
    with servers.process(command, env=environment, cwd=ROOT, log=log, cold=True) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return " ready." in log.read_text()

        wait_until(is_ready, timeout=60, what="the worker is ready")
        yield


@pytest.fixture
def finished(folder: Path, environment: dict[str, str], worker: None, tmp_path: Path) -> Finished:
    """A run that one process has submitted and another, which knows its id only, has read."""
    run_id = python(SUBMIT.format(str(folder)), environment, cold=True)
    report, steps = json.loads(python(RESULT.format(run_id), environment, cold=True))
    return Finished(folder, tmp_path / "results", report, {key: rest for key, *rest in steps})


def tokens(file: Path) -> Counter[str]:
    with file.open("rb") as source:
        names = (each.string for each in tokenize.tokenize(source.readline) if each.type == 1)
        return Counter(name for name in names if name in {"def", "class"})


def test_the_sample_flow_reports_on_real_files(finished: Finished) -> None:
    """A worker, two clients, a folder with one broken file: every number is right."""
    files = [file for package in PACKAGES for file in (finished.folder / package).rglob("*.py")]
    found = sum(map(tokens, files), Counter[str]())
    totals = {
        "modules": len(files),
        "lines": sum(len(file.read_bytes().splitlines()) for file in files),
        "functions": found["def"],
        "classes": found["class"],
        "failed": 1,
    }
    assert totals == finished.report["totals"]

    # One file failed, once and alone, and is named.
    assert ["completed", {"completed": len(files), "failed": 1}] == [
        finished.steps["measure"][0],
        finished.steps["measure"][2],
    ]
    [line] = [line for line in finished.report["markdown"].splitlines() if "broken.py" in line]
    assert line.startswith("- `broken.py`: invalid syntax")

    # Imports between modules are found, relative ones too.
    assert "- `asyncio.events`: by " in finished.report["markdown"]

    # The table is the only result that was too large for its row.
    table = finished.report["definitions"]
    [stored] = [file for file in finished.results.rglob("*") if file.is_file()]
    assert table.encode() == stored.read_bytes()
    rows = list(csv.DictReader(StringIO(table)))
    assert found.total() == len(rows)
    [row] = [row for row in rows if row["name"] == "JSONDecoder.raw_decode"]
    source = (finished.folder / "json" / "decoder.py").read_text().splitlines()
    assert source[int(row["line"]) - 1].strip().startswith("def raw_decode(")
    assert ("json.decoder", "function", "True") == (row["module"], row["kind"], row["documented"])
