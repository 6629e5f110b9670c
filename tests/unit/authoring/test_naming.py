"""Names of steps: the same in the script that submits and in the worker that runs."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SCRIPT = """
from flowq.authoring.flows import flow
from flowq.authoring.steps import step

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

    done = subprocess.run(
        [sys.executable, *command],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
    )

    expected = "examples.shop.work examples.shop.crawl examples.shop.work\n"
    assert (expected, "") == (done.stdout, done.stderr)


def test_script_outside_the_current_directory_has_its_own_name(tmp_path: Path) -> None:
    """From elsewhere there is no better name than the file's."""
    (tmp_path / "shop.py").write_text(SCRIPT.replace("examples.shop", "shop"))

    done = subprocess.run(
        [sys.executable, str(tmp_path / "shop.py")],
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )

    assert "shop.work shop.crawl shop.work\n" == done.stdout, done.stderr
