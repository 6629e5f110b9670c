"""What the pages say is true as far as code can tell.

Every Python block compiles; those that define steps or flows are run, their flows traced, and their
tests run, without any server. Parts that are made from code are as the code is now, and links lead
somewhere.
"""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.tools.session.processes import run

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: A block below a comment, `<!-- not run: why -->`, is code of another system.
BLOCK = re.compile(r"(?<!-->\n)^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: A file beside the module of a page's blocks: its name stands where the language stands.
FILE = re.compile(r"^```jinja (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)?(?:#([^)]+))?\)")

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: str(page.relative_to(ROOT).with_suffix(""))
)

#: Runs one block as a module and traces its flows with inputs of the annotated types.
TRACE = """
import importlib.util, inspect, sys
from datetime import date
from flowq import Flow

SAMPLES = {bool: True, float: 0.5, int: 3, str: "text", list[int]: [1, 2], list[str]: ["a", "b"]}
SAMPLES[date] = date(2030, 1, 1)
spec = importlib.util.spec_from_file_location("block", sys.argv[1])
module = importlib.util.module_from_spec(spec)
sys.modules["block"] = module
spec.loader.exec_module(module)
flows = [value for value in vars(module).values() if isinstance(value, Flow)]
for flow in flows:
    parameters = inspect.signature(flow).parameters.values()
    assert flow.spec(**{each.name: SAMPLES[each.annotation] for each in parameters}).steps
for name, value in list(vars(module).items()):
    if name.startswith("test_"):
        value()
print(len(flows))
"""


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def test_each_promise_is_kept_by_tests_that_exist() -> None:
    page = (ROOT / "docs/concepts/promises.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`tests/" in line]
    named = re.findall(r"`(tests/[^`]+)`", page)

    assert len(rows) >= 16
    assert named
    for name in named:
        path, _, test = name.partition("::")
        found = ROOT / path
        assert found.exists(), name
        assert not test or f"def {test}(" in found.read_text(encoding="utf-8"), name


@each_page
def test_python_blocks_compile(page: Path) -> None:
    """A block that is no Python is a slip of the pen."""
    for block in blocks(page):
        compile(block, page.name, "exec")


@pytest.mark.parametrize(
    "page, block",
    [
        pytest.param(page, block, id=f"{page.relative_to(ROOT).with_suffix('')}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page))
        if re.search(r"^@(step|flow)", block, re.MULTILINE)
    ],
)
def test_flows_in_blocks_can_be_traced(page: Path, block: str, tmp_path: Path) -> None:
    """Each block runs by itself, in a process of its own, and its flows make graphs."""
    for name, text in FILE.findall(page.read_text(encoding="utf-8")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    file = tmp_path / "block.py"
    file.write_text(block, encoding="utf-8")
    done = run([sys.executable, "-c", TRACE, file], cwd=tmp_path)
    assert 0 == done.returncode, done.stderr
    assert block.count("@flow") == int(done.stdout)


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@each_page
def test_generated_parts_are_current(page: Path) -> None:
    """After a change of settings or states: python docs/generate.py."""
    text = page.read_text(encoding="utf-8")
    assert generator().render(text) == text


def test_every_generated_part_is_on_a_page() -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(generator().PARTS) == set(re.findall(r"<!-- generated: (\S+) -->", text))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """A link within the repository names a file that is there, and a title that it has."""
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), anchor


def test_the_readme_shows_what_the_quickstart_builds() -> None:
    """The first flow that a newcomer reads is the same in both, but for empty lines."""
    readme, quickstart = (
        list(filter(None, blocks(page)[0].splitlines()))
        for page in (ROOT / "README.md", ROOT / "docs/tutorial/quickstart.md")
    )
    assert quickstart == readme


ARCHITECTURE = ROOT / "docs/project/architecture.md"
#: A quoted word, and the names that follow it in parentheses.
QUOTED = re.compile(r"`([^`\n]+)`(?: \(((?:`\w+`(?:, )?)+)\))?")


def test_what_the_architecture_names_exists() -> None:
    """Each path is there, and each name that follows it is defined in it."""
    found = QUOTED.findall(ARCHITECTURE.read_text(encoding="utf-8"))
    places = [(name, names) for name, names in found if "/" in name or name.endswith(".py")]
    missing = []
    for place, names in places:
        path = ROOT / (place if place.startswith("tests/") else f"flowq/{place}")
        source = path.read_text(encoding="utf-8") if path.is_file() else ""
        defined = set(re.findall(r"^(?:async )?(?:def|class) (\w+)", source, re.MULTILINE))
        missing += [] if path.exists() else [place]
        missing += [f"{place}:{name}" for name in re.findall(r"\w+", names) if name not in defined]

    assert len(places) >= 30
    assert [] == missing
