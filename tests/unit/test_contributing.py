"""CONTRIBUTING.md is true: its picture of the rooms, the files and targets it names, the hooks."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")

#: One line of the picture: its depth, the name of a folder or module, and what is in it.
LINE = re.compile(r"^( *)([\w.]+/?)(?: +(\S.*))?$", re.MULTILINE)
#: A file or folder of the repository, as the guide names it.
NAMED = re.compile(r"`((?:alembic|docs|flowq|tests)/[^` *]*|[\w.]+\.(?:md|toml|yaml))`")


def picture() -> Iterator[str]:
    """Yield the paths of the picture, folders with a slash at their end, from top to bottom."""
    found = re.search(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found
    parents: list[str] = []
    for indent, name, _ in LINE.findall(found[1]):
        parents = [*parents[: len(indent) // 2], name]
        yield "".join(parents)


def test_every_folder_is_in_the_picture() -> None:
    folders = {
        f"{folder.relative_to(ROOT)}/"
        for pattern in ("*", "*/*")
        for folder in (ROOT / "flowq").glob(pattern)
        if (folder / "__init__.py").exists()
    }

    assert folders | {"flowq/"} == {path for path in picture() if path.endswith("/")}


def test_what_the_picture_shows_exists() -> None:
    assert [] == [path for path in picture() if not (ROOT / path).exists()]


def test_every_line_of_the_picture_says_what_is_there() -> None:
    found = re.search(r"^```text\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert found
    assert len(found[1].splitlines()) == len(LINE.findall(found[1]))
    assert ["flowq/"] == [name for _, name, text in LINE.findall(found[1]) if not text]


@pytest.mark.parametrize(
    "container, layers",
    [
        (container, contract["layers"])
        for contract in PROJECT["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
        for container in contract["containers"]
    ],
)
def test_the_picture_is_in_the_order_of_imports(container: str, layers: list[str]) -> None:
    """As far as it shows the rooms of a contract, the higher floor stands above the lower one."""
    folder = container.replace(".", "/") + "/"
    floor = {room: at for at, line in enumerate(layers) for room in line.split(" | ")}
    shown = [
        path.removeprefix(folder).removesuffix("/").removesuffix(".py")
        for path in picture()
        if re.fullmatch(re.escape(folder) + r"[^/]+/?", path)
    ]

    assert [] == [room for room in shown if room not in floor]
    assert sorted(shown, key=lambda room: floor[room]) == shown


def test_the_files_that_the_guide_names_exist() -> None:
    named = NAMED.findall(GUIDE)

    assert len(named) >= 40
    assert [] == [name for name in named if not (ROOT / name).exists()]


def test_the_targets_that_the_guide_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", GUIDE))

    assert named
    assert named <= targets


def test_hooks_before_a_commit_are_the_checks_of_make_lint() -> None:
    """Neither may have a check that the other lacks; a hook downloads no tool of its own."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]

    assert recipe
    assert re.findall(r"\$\(BIN\)/(.+)", recipe[1]) == [hook["entry"] for hook in hooks]
    assert {"local"} == {repository["repo"] for repository in config["repos"]}
    assert {"system"} == {hook["language"] for hook in hooks}
    # The tools look at the whole repository, as `make lint` lets them.
    assert not any(hook["pass_filenames"] for hook in hooks)
