"""A user's project that is checked with `mypy --strict` sees flowq's types, and has no errors."""

import re
import shutil
import subprocess
import sys
from importlib import import_module
from inspect import isclass
from pathlib import Path

import flowq.core.errors
from flowq import errors

ROOT = Path(__file__).parents[2]
#: Not the cache of the linters, which may be at work at the same time.
KEPT = str(ROOT / ".mypy_cache" / "users")
#: Libraries of libraries: no type of flowq's names theirs, and they are two thousand modules.
DEEP = ("alembic.*", "cryptography.*", "griffe.*", "logfire_api.*", "markdown_it.*", "openai.*")
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_strict_mypy_accepts_what_users_write(tmp_path: Path) -> None:
    """The README's flow and its use, and what the guide shows, against the installed package.

    What mypy has found in the libraries is kept for the next run of the tests.
    """
    definition, use = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))[:2]
    body = "".join(f"    {line}\n" for line in use.splitlines())
    (tmp_path / "digest.py").write_text(f"{definition}\n\ndef main() -> None:\n{body}")
    shutil.copy(Path(__file__).with_name("code_of_users.py"), tmp_path / "project.py")
    wrong = [
        "from digest import digest",
        "digest.enqueue(7)",
        "x: int = digest.enqueue('x').result()",
    ]
    (tmp_path / "wrong.py").write_text("\n".join(wrong))
    (tmp_path / "mypy.ini").write_text(f"[mypy]\n[mypy-{','.join(DEEP)}]\nfollow_imports = skip\n")

    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", KEPT, "."],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )

    found = done.stdout.splitlines()
    assert [line for line in found if not line.startswith("wrong.py")][:-1] == [], done.stdout
    places = [line.partition(": error")[0] for line in found if ": error" in line]
    assert ["wrong.py:2", "wrong.py:3"] == places, done.stdout


def test_package_says_that_it_is_typed() -> None:
    assert (ROOT / "flowq" / "py.typed").exists()


def test_errors_are_public_by_one_name() -> None:
    known = {
        name
        for name, value in vars(flowq.core.errors).items()
        if isclass(value) and value.__module__ == "flowq.core.errors"
    }
    assert known == set(errors.__all__)
    assert import_module("flowq.errors").RunFailed is flowq.core.errors.RunFailed
