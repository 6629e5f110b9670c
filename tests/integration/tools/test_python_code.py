"""Python code of documents: styles, bindings, failures, and the limits of its process (N17-N19)."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from flowq.tools.python_code import Code, CodeFailed, run_in_process, run_inline
from tests.tools.waiting import wait_until

Runner = Callable[[Code], Awaitable[Any]]
BOTH = pytest.mark.parametrize("run", [run_in_process, run_inline])


def result(run: Runner, source: str, **args: Any) -> Any:
    return asyncio.run(run(Code(source, args, {"step": "s"})))  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize(
    "source, expected",
    [
        ("def main(a, b=2): return [a, b]", [1, 2]),
        ("def main(a, /, *, text): return [a, text]", [1, {"k": [1]}]),
        ("def main(a, **rest): return rest", {"text": {"k": [1]}, "brace": "{no"}),
        ("def main(input_data): return input_data['a']", 1),
        ("def main(data, context): return [data['a'], context['step']]", [1, "s"]),
        ("def main(args): return sorted(args)", ["a", "brace", "text"]),
        ("async def main(a):\n import asyncio\n await asyncio.sleep(0)\n return a", 1),
        ("return a + len(input_data)", 4),
        ("for x in range(3):\n  if x == a: return x", 1),
        ("result = a * 2", 2),
        ("result = input_data['text']['k']", [1]),
        (
            "x = 1",
            {
                "status": "success",
                "message": "Code executed without explicit result variable",
                "locals_count": 1,
                "locals_keys": ["x"],
            },
        ),
    ],
)
def test_code_of_each_style_gives_its_result(run: Runner, source: str, expected: Any) -> None:
    assert result(run, source, a=1, text="{'k': [1]}", brace="{no") == expected


@BOTH
@pytest.mark.parametrize(
    "source, kind, message",
    [
        ("def main(gone): pass", "TypeError", "gone"),
        ("1 / 0", "ZeroDivisionError", "division by zero"),
        ("def main(:", "SyntaxError", "invalid syntax"),
        ("result = {1, 2}", "TypeError", "contains a set, which is not JSON"),
        ("result = float('nan')", "ValueError", "not JSON compliant"),
        ("import sys; sys.exit(3)", None, "3"),
    ],
)
def test_a_failure_has_the_type_of_the_code(
    run: Runner, source: str, kind: str | None, message: str
) -> None:
    with pytest.raises(CodeFailed, match=message) as caught:
        result(run, source)
    assert kind is None or type(caught.value).__name__ == caught.value.details["type"] == kind


def test_libraries_have_the_names_that_the_code_uses() -> None:
    libs = {"m": "math", "dumps": {"from": "json", "import": "dumps"}}
    code = Code("result = dumps(m.floor(1.5))", libs=libs)
    assert asyncio.run(run_in_process(code)) == "1"


def test_the_process_has_no_environment_and_an_empty_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_SECRET", "hidden")
    source = "import os; result = [sorted(os.environ), os.listdir(), os.getcwd()]"
    names, files, folder = result(run_in_process, source)
    assert set(names) <= {"LC_CTYPE"}
    assert files == []
    assert not Path(folder).exists()


@pytest.mark.parametrize(
    "source, message",
    [
        ("result = len(bytearray(10 ** 9))", "MemoryError"),
        ("result = open('f', 'wb').write(b'x' * 10 ** 8)", "File too large"),
        ("result = [open('/dev/null') for _ in range(100)]", "Too many open files"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
        ("import os; os._exit(3)", "without a result"),
        ("while True: pass", "time of the processor"),
    ],
)
def test_limits_end_the_code_and_not_the_worker(source: str, message: str) -> None:
    with pytest.raises(CodeFailed, match=message):
        asyncio.run(run_in_process(Code(source, seconds=0.1)))


def test_a_process_ends_with_its_children_when_it_is_not_awaited_any_more(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    source = (
        "import os, subprocess, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "while True: time.sleep(1)"
    )

    async def run() -> None:
        task = asyncio.ensure_future(run_in_process(Code(source)))
        started = lambda: pids.exists() and len(pids.read_text().split()) == 2  # noqa: E731
        await asyncio.to_thread(wait_until, started, what="the code begins")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    for pid in map(int, pids.read_text().split()):
        wait_until(lambda pid=pid: not _runs(pid), what="the end")  # type: ignore[misc]


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z" and os.path.exists(f"/proc/{pid}")  # noqa: PTH110


def test_what_the_code_has_started_does_not_hold_its_result() -> None:
    began = time.monotonic()
    source = "import subprocess; subprocess.Popen(['sleep', '300']); result = 1"
    assert result(run_in_process, source) == 1
    assert time.monotonic() - began < 150


def test_what_the_code_prints_comes_as_text() -> None:
    printed: list[str] = []
    code = Code("print('ä', flush=True); print('b'); result = 1")
    assert asyncio.run(run_in_process(code, printed.append)) == 1
    assert "".join(printed) == "ä\nb\n"
