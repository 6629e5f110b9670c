"""Names of steps: the same in the script that submits and in the worker that runs."""

import os
import sys
from pathlib import Path

import pytest

from tests.tools.session.processes import run

ROOT = Path(__file__).parents[3]

SCRIPT = """
from flowq.authoring.definitions.flows import flow
from flowq.authoring.definitions.steps import step

@step
def work(x: int) -> int:
    return x

@flow
def crawl() -> int:
    return work(1)

if __name__ == "__main__":
    import examples.shop

    print(work.type.name, crawl.type.name, examples.shop.work.type.name)
"""


@pytest.mark.parametrize("command", [["examples/shop.py"], ["-m", "examples.shop"]])
def test_script_and_module_agree(tmp_path: Path, command: list[str]) -> None:
    """A file has the same names when it is started and when a worker imports it, even both."""
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "shop.py").write_text(SCRIPT)

    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{tmp_path}"}
    done = run([sys.executable, *command], cwd=tmp_path, env=environment)

    expected = "examples.shop.work examples.shop.crawl examples.shop.work\n"
    assert (expected, "") == (done.stdout, done.stderr)


def test_script_outside_the_current_directory_has_its_own_name(tmp_path: Path) -> None:
    """From elsewhere there is no better name than the file's."""
    (tmp_path / "shop.py").write_text(SCRIPT.replace("examples.shop", "shop"))

    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = run([sys.executable, tmp_path / "shop.py"], cwd=ROOT, env=environment)

    assert "shop.work shop.crawl shop.work\n" == done.stdout, done.stderr


#: Where the worker is started, where the script is, how its path is typed and from where.
PLACES = {
    "the folder of the worker, from elsewhere": ("deep/shop", "flows.py", "{file}", "/"),
    "the same, by a relative path out of another folder": (
        "deep/shop",
        "flows.py",
        "../shop/flows.py",
        "deep/other",
    ),
    "the folder of the worker, from there": ("deep/shop", "flows.py", "flows.py", "deep/shop"),
    "below the folder of the worker, from there": (
        "deep/shop",
        "inner/flows.py",
        "inner/flows.py",
        "deep/shop",
    ),
    "below a project, by an editor that gives whole paths": (
        "project",
        "inner/flows.py",
        "{file}",
        "project",
    ),
    "a package, from elsewhere": ("project", "package/sub/flows.py", "{file}", "/"),
    "a package, from within it": ("project", "package/sub/flows.py", "flows.py", "package/sub"),
    "a folder with a name that no module has": ("a-b", "flows.py", "a-b/flows.py", "."),
}


@pytest.mark.parametrize("place", list(PLACES))
def test_script_from_anywhere_has_the_names_of_the_worker(tmp_path: Path, place: str) -> None:
    """The worker is started, as `celery -A`, in a folder that the script need not be started in."""
    worker, name, typed, cwd = PLACES[place]
    for part in ("deep/other", worker):
        (tmp_path / part).mkdir(parents=True)
    file = tmp_path / worker / name
    file.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "project").mkdir(exist_ok=True)
    (tmp_path / "project" / "pyproject.toml").touch()
    if name.startswith("package"):
        for folder in (file.parent, file.parent.parent):
            (folder / "__init__.py").touch()
    file.write_text(SCRIPT.partition("if __name__")[0] + "print(work.type.name)")
    module = ".".join(Path(name).with_suffix("").parts)
    where = file.parent if cwd == "package/sub" else tmp_path / cwd

    by_worker = _run(["-c", f"import {module}"], tmp_path / worker)
    by_script = _run([typed.format(file=file)], where)

    assert by_worker == by_script == f"{module}.work\n"


def test_installed_script_is_named_from_where_it_is_installed(tmp_path: Path) -> None:
    """As in an editable installation: a namespace package on the path of every process."""
    file = tmp_path / "src" / "shop" / "flows.py"
    file.parent.mkdir(parents=True)
    file.write_text(SCRIPT.partition("if __name__")[0] + "print(work.type.name)")

    path = str(tmp_path / "src")

    assert _run([str(file)], Path("/"), path) == "shop.flows.work\n"


def _run(command: list[str], folder: Path, *path: str) -> str:
    """Run Python in a folder, which like a Celery worker it imports from if it is to import."""
    also = [str(folder)] if command[0] == "-c" else []
    environment = os.environ | {"PYTHONPATH": ":".join([str(ROOT), *path, *also])}
    done = run([sys.executable, *command], cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
