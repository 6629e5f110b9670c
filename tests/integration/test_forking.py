"""Tests that forked processes run end as they end in one process, whatever happens to a process."""

import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.tools.session.processes import run

ROOT = Path(__file__).parents[2]
CONFTEST = """
from tests.tools.session.forking import Forking


def pytest_addoption(parser):
    parser.addoption("--processes", type=int)


def pytest_configure(config):
    def grouped(items):
        modules = {}
        for place, item in enumerate(items):
            modules.setdefault(item.path, []).append(place)
        return list(modules.values())

    def nothing():
        pass

    if number := config.option.processes:
        config.pluginmanager.register(Forking(number, grouped, nothing, nothing))
"""
TESTS = """
import os, warnings
import pytest

@pytest.fixture(scope="session")
def process():
    return os.getpid()

@pytest.fixture(scope="module")
def own():
    yield os.getpid()
    print("module ends")

@pytest.mark.parametrize("number", range(3))
def test_number(number, own, process):
    print("number", number)
    assert number != 1 and own == process == os.getpid()

def test_output(capfd, tmp_path):
    os.system("echo shown")
    assert capfd.readouterr().out == "shown\\n"
    assert list(tmp_path.iterdir()) == []

def test_warns():
    warnings.warn("look out", UserWarning)

@pytest.mark.xfail(strict=True)
def test_fails():
    assert {"a": 1} == {"a": 2}

@pytest.mark.xfail(strict=True)
def test_does_not_fail():
    pass

def test_is_skipped():
    pytest.skip("today")

def test_lacks_a_fixture(missing):
    pass

@pytest.fixture
def bad():
    yield
    raise RuntimeError("torn")

def test_ends_badly(bad):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def report(project: Path, *options: str) -> tuple[int, str, dict[str, list[str]]]:
    """Run the tests of a project; return the exit code, the output, and how each test has ended."""
    xml = project / "report.xml"
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", f"--junitxml={xml}", *options]
    done = run(command, cwd=project, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"})
    ends: dict[str, list[str]] = {}
    for case in ET.parse(xml).iter("testcase"):
        kinds = [f"{end.tag}: {end.get('message')}" for end in case]
        ends[f"{case.get('classname')}.{case.get('name')}"] = kinds
    return done.returncode, done.stdout, ends


def test_each_test_ends_as_in_one_process(project: Path) -> None:
    for module in ("test_a", "test_b", "test_c"):
        (project / f"{module}.py").write_text(TESTS)

    alone = report(project)
    forked = report(project, "--processes=2")

    assert alone[0] == forked[0] == 1
    assert alone[2] == forked[2]
    assert 3 * 10 == len(forked[2])
    summary = "6 failed, 15 passed, 3 skipped, 3 xfailed, 3 warnings, 6 errors"
    assert summary in alone[1]
    assert summary in forked[1]
    assert "number 1" in forked[1]
    assert "UserWarning: look out" in forked[1]


def test_tests_run_in_several_processes(project: Path) -> None:
    """One waits for the other."""
    waits = """
from pathlib import Path
import time

def test_meets():
    Path({own!r}).touch()
    deadline = time.monotonic() + 60
    while not Path({other!r}).exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
    places = [str(project / name) for name in ("first", "second")]
    for number, (own, other) in enumerate([places, places[::-1]]):
        (project / f"test_{number}.py").write_text(waits.format(own=own, other=other))

    assert 0 == report(project, "--processes=2")[0]


def test_death_of_a_process_is_a_failure_and_the_others_go_on(project: Path) -> None:
    waits = f"""
import os, signal, time
from pathlib import Path

DEAD = Path({str(project / "dead")!r})

def test_waits():
    deadline = time.monotonic() + 60
    while not DEAD.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
"""
    dies = """
def test_before():
    pass

def test_dies():
    DEAD.touch()
    os.kill(os.getpid(), signal.SIGKILL)

def test_after():
    pass
"""
    (project / "test_a.py").write_text(waits)
    (project / "test_b.py").write_text(waits.partition("def ")[0] + dies)

    code, output, ends = report(project, "--processes=2")

    assert 1 == code, output
    assert "the process died while it ran test_b.py::test_dies" in output
    assert ["test_b.test_dies"] == [name for name, kinds in ends.items() if kinds]
    assert {"test_a.test_waits", "test_b.test_before", "test_b.test_after"} < ends.keys()


def test_who_is_free_already_runs_what_one_that_dies_was_given(project: Path) -> None:
    begins = f"""
import os, signal, time
from pathlib import Path

FREE = Path({str(project / "free")!r})
"""
    ends = """
def test_ends():
    FREE.write_text(str(os.getpid()))
"""
    dies = """
def sleeps():
    return Path(f"/proc/{FREE.read_text()}/stat").read_text().rpartition(")")[2].split()[0] == "S"

def test_dies():
    deadline, quiet = time.monotonic() + 60, 0
    while quiet < 10:  # the other process waits for more
        assert time.monotonic() < deadline
        quiet = quiet + 1 if FREE.exists() and FREE.read_text() and sleeps() else 0
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

def test_after():
    pass
"""
    (project / "test_a.py").write_text(begins + dies)
    (project / "test_b.py").write_text(begins + ends)

    code, output, found = report(project, "--processes=2")

    assert 1 == code, output
    assert "the process died while it ran test_a.py::test_dies" in output
    assert ["test_a.test_dies"] == [name for name, kinds in found.items() if kinds]
    assert {"test_b.test_ends", "test_a.test_after"} < found.keys()


def test_session_fails_when_no_process_is_left(project: Path) -> None:
    """What has not run is not passed over."""
    for name in ("a", "b", "c"):
        (project / f"test_{name}.py").write_text("import os\ndef test_dies(): os._exit(0)")

    code, output, ends = report(project, "--processes=2")

    assert 2 == code
    assert "no process is left to run the other tests" in output
    assert 2 == len(ends)


@pytest.mark.parametrize("scope", ["session", "module"])
def test_error_at_the_end_of_what_tests_share_fails_the_session(project: Path, scope: str) -> None:
    text = f"""
import pytest

@pytest.fixture(scope={scope!r})
def shared():
    yield
    raise RuntimeError("not ended")

def test_it(shared):
    pass
"""
    (project / "test_a.py").write_text(text)
    (project / "test_b.py").write_text("def test_other(): pass")

    code, output, _ = report(project, "--processes=2")

    assert 0 != code
    assert "RuntimeError: not ended" in output


def test_first_failure_ends_the_session_when_that_is_asked_for(project: Path) -> None:
    (project / "test_a.py").write_text("def test_fails(): assert False\n")
    slow = "import time\ndef test_slow(): time.sleep(600)\ndef test_other(): pass"
    (project / "test_b.py").write_text(slow)

    code, output, _ = report(project, "--processes=2", "-x")

    assert 1 == code
    assert "stopping after 1 failures" in output
