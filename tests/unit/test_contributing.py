"""What contributors are told is so: the hooks, the map of folders, the files that are named."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_hooks_before_a_commit_are_the_checks_of_make_lint() -> None:
    """Neither may have a check that the other lacks; a hook downloads no tool of its own."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    hooks = [hook for repository in config["repos"] for hook in repository["hooks"]]

    assert recipe
    assert re.findall(r"\$\(BIN\)/(.+)", recipe[1]) == [hook["entry"] for hook in hooks]
    assert {"local"} == {repository["repo"] for repository in config["repos"]}
    assert {"system"} == {hook["language"] for hook in hooks}
    # The tools look at the whole repository, as `make lint` lets them.
    assert not any(hook["pass_filenames"] for hook in hooks)
