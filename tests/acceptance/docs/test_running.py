"""The runner of pages: commands run as they are, failures name their place, all is ended."""

import sys
from functools import partial
from pathlib import Path

import pytest

from flowq.adapters.embedded import EmbeddedValkey
from tests.tools.docs.running import problem_of
from tests.tools.session.processes import is_gone
from tests.tools.waiting import wait_until

FLOWS = """```python
# shop.py
from flowq import flow, step


@step
def double(n: int) -> int:
    return 2 * n


@flow
def doubled(n: int) -> int:
    return double(n)
```
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


def problem(folder: Path, text: str) -> str | None:
    page = folder.parent / "page.md"
    page.write_text(text, encoding="utf-8")
    return problem_of(page, folder)


def console(text: str) -> str:
    return f"```console\n{text}```\n"


def test_shell_lines_run_as_they_are(folder: Path) -> None:
    text = console(
        "$ NAME=Ada python -c 'import os; print(os.environ[\"NAME\"])' | tr a-z A-Z\nADA\n"
        "$ export WHERE=here\n"
        "$ mkdir there && cd there\n"
        '$ echo "$WHERE $(basename "$PWD")"\nhere there\n'
        "$ cat > a.txt <<EOF\n> one\n> EOF\n"
        "$ cat a.txt\none\n"
        "$ python -c 'raise SystemExit(7)'\n"
        "$ echo $?\n7\n"
        "$ kill -0 $$\n"
    )
    assert problem(folder, text) is None


def test_a_worker_goes_on_and_serves_python_and_commands(folder: Path) -> None:
    text = (
        FLOWS
        + console("$ flowq worker shop.py --concurrency 1\n…\n… celery@laptop ready.\n")
        + "```python\nimport shop\n\nassert shop.doubled.enqueue(n=2).result(60) == 4\n```\n"
        + console(
            "$ flowq run shop.py:doubled -p n=4 --wait\n8\n"
            "$ ID=$(flowq run shop.py:doubled -p n=5)\n"
            "$ flowq runs result $ID --wait 60 || flowq runs watch $ID\n…\n"
        )
    )
    assert problem(folder, text) is None
    assert EmbeddedValkey(folder / ".flowq").pid is None


def test_a_server_gets_a_free_port_and_is_ended(folder: Path) -> None:
    text = console(
        "$ echo hello > a.txt\n$ python -m http.server  # on port 8000\n$ echo $! > pid\n"
        "$ curl -s localhost:8000/a.txt  # in another terminal\nhello\n"
        "$ sleep 600 &  # is ended, too\n$ echo $! >> pid\n"
    )
    assert problem(folder, text) is None
    for pid in map(int, (folder / "pid").read_text().split()):
        wait_until(partial(is_gone, pid), what=f"{pid} is gone")


@pytest.mark.parametrize(
    "text, line, said",
    [
        (console("$ echo one\ntwo\n"), 2, "+one"),
        (console("$ true\n$ false\n"), 3, "exit code 1"),
        ("\n```python\nx = 1\nassert x == 2\n```\n", 3, 'page.md", line 4'),
        (console("$ python -m http.server --nope\n"), 2, "unrecognized arguments"),
        (console("$ exit 3\n"), 2, "the shell has ended"),
        (console("$ flowq runs show 0199\nError: no run\n"), 2, "no run has the id 0199"),
    ],
    ids=["output", "exit-code", "python", "server", "shell", "error"],
)
def test_failures_name_the_place_and_show_what_was_printed(
    folder: Path, text: str, line: int, said: str
) -> None:
    found = problem(folder, text)
    assert found is not None
    assert found.startswith(f"{folder.parent / 'page.md'}:{line}: ")
    assert said in found


def test_blocks_of_python_are_modules_that_know_what_was_before(folder: Path) -> None:
    blocks = [
        "from flowq import flow, step\n\n\n@step\ndef one() -> int:\n    return 1\n",
        "@step\ndef one() -> int:\n    return 2\n\n\n@flow\ndef ones() -> int:\n    return one()\n",
        "async def two() -> int:\n    return one()\n\n\nassert await two() == 2\n",
    ]
    assert problem(folder, "".join(f"```python\n{block}```\n\n" for block in blocks)) is None


@pytest.mark.parametrize(
    "block",
    [
        "def test_it() -> None:\n    assert not 1\n",
        "from flowq import flow\n\n\n@flow\ndef none(n: int) -> int:\n    return n / 0\n",
    ],
    ids=["test", "flow"],
)
def test_tests_and_flows_of_blocks_are_run_and_drawn(folder: Path, block: str) -> None:
    found = problem(folder, f"```python\n{block}```\n")
    assert found is not None
    assert f'page.md", line {1 + len(block.splitlines())}' in found


def test_no_variable_of_flowq_comes_from_outside(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLOWQ_DATABASE_URL", "sqlite:////nowhere/flowq.db")
    text = console("$ env | grep -c FLOWQ_ || true\n0\n")
    text += "```python\nimport os\n\nassert not [n for n in os.environ if n[:6] == 'FLOWQ_']\n```\n"
    assert problem(folder, text) is None


def test_the_interpreter_is_the_one_of_the_tests(folder: Path) -> None:
    text = console("$ python -c 'import sys; print(sys.executable)'\n" + f"{sys.executable}\n")
    assert problem(folder, text) is None
