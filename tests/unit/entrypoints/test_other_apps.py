"""An app that does not use flowq is left alone: in the environment that has it, in its process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_STOP = """
from celery.signals import worker_init


@worker_init.connect
def stop(**_):
    raise SystemExit(0)  # after all others have heard that a worker is about to begin
"""
_OTHER = f"""
from celery import Celery

app = Celery("other", broker="memory://")
{_STOP}
"""
_BOTH = f"""
import flowq
from celery import Celery

with_flowq = flowq.celery_app()
app = Celery("other", broker="memory://")
{_STOP}
"""


def loaded_by(folder: Path, source: str, *command: str) -> set[str]:
    """Return the modules that a `celery` command has loaded at its end."""
    (folder / "other.py").write_text(source, encoding="utf-8")
    code = (
        "import atexit, sys; from celery.__main__ import main;"
        "atexit.register(lambda: print('loaded:', *sys.modules)); main()"
    )
    # Without PYTHONPATH the folder's app is all that is there, beside what is installed.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FLOWQ_")}
    done = subprocess.run(
        [sys.executable, "-c", code, *command],
        cwd=folder,
        env=kept,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


@pytest.mark.parametrize("command", [("--version",), ("-A", "other", "worker", "--pool", "solo")])
def test_a_celery_command_of_another_app_loads_nothing_of_flowq(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Celery's plug-ins load the command `dashboard`: no engine, no adapter, no folder."""
    loaded = loaded_by(tmp_path, _OTHER, *command)

    assert {
        "flowq",
        "flowq.entrypoints",
        "flowq.entrypoints.flower",
        "flowq.entrypoints.flower.command",
        "flowq.lazy",
    } == {name for name in loaded if name.partition(".")[0] == "flowq"}
    assert set() == loaded & {"sqlalchemy", "pydantic", "obstore", "alembic"}
    assert not (tmp_path / ".flowq").exists()


def test_a_worker_of_another_app_starts_nothing_beside_an_app_with_flowq(tmp_path: Path) -> None:
    """With two apps in one process, a worker is flowq's when its own app is."""
    loaded = loaded_by(tmp_path, _BOTH, "-A", "other:app", "worker", "--pool", "solo")

    assert "flowq.entrypoints.worker" in loaded
    assert "alembic" not in loaded  # which only those need who migrate
    assert not (tmp_path / ".flowq").exists()
