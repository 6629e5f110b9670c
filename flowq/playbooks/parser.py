"""Reads playbooks: text to `Playbook`, with all problems at once; and the parser of the seed.

`read_playbook` is the way in; `load` gives also what its callers may want to show: the canonical
form and the warnings. `DSLParser` and the functions below it are what earlier engines call; their
errors are `ValueError`s, as there.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from flowq.playbooks.building import Playbook
from flowq.playbooks.document.models import Step
from flowq.playbooks.document.problems import InvalidPlaybook, Problem
from flowq.playbooks.document.reading import read


@dataclass(frozen=True, slots=True)
class Loaded:
    """A playbook that was read, and what looks wrong in it."""

    playbook: Playbook
    warnings: tuple[Problem, ...]


def load(source: str | bytes, *, compat: bool = False, name: str = "playbook.yaml") -> Loaded:
    """Read and check a document.

    Args:
        source: YAML or JSON.
        compat: Accept what other engines accept: of equal keys the last, `yes` and `no`, unknown
            keys (as warnings).
        name: The file, for messages.

    Raises:
        InvalidPlaybook: it is wrong; has all problems.
    """
    done = read(source, compat=compat, name=name)
    return Loaded(
        *Playbook.checked(done.data, done.places, done.problems, compat=compat, name=name)
    )


def read_playbook(
    text: str | bytes, *, compat: bool = False, name: str = "playbook.yaml"
) -> Playbook:
    """Read and check a document; as `load`, without the warnings."""
    return load(text, compat=compat, name=name).playbook


def playbook_of(data: Any, *, name: str = "") -> Playbook:
    """Check a document that is data already, and return the playbook.

    Raises:
        InvalidPlaybook: it is wrong; its problems have paths, and no lines.
    """
    return Playbook.checked(data, name=name)[0]


# --- the parser of the seed ----------------------------------------------------------------------


class DSLParser:
    """Reads playbooks, and keeps those that were read under a key or from a file."""

    def __init__(self) -> None:
        self._cache: dict[str, Playbook] = {}

    def parse(self, yaml_content: str, cache_key: str | None = None) -> Playbook:
        """Read a text; with a key, the playbook that was read under it before.

        Raises:
            InvalidPlaybook: it is wrong. Also a `ValueError`.
        """
        if cache_key is not None and cache_key in self._cache:
            return self._cache[cache_key]
        playbook = read_playbook(yaml_content)
        if cache_key is not None:
            self._cache[cache_key] = playbook
        return playbook

    def parse_file(self, path: str | Path, use_cache: bool = True) -> Playbook:  # noqa: FBT001, FBT002 - the seed's signature
        """Read a file; with `use_cache` once for each path.

        Raises:
            FileNotFoundError: there is none.
            InvalidPlaybook: it is wrong.
        """
        key = str(Path(path).resolve())
        if use_cache and key in self._cache:
            return self._cache[key]
        playbook = read_playbook(_content(path), name=str(path))
        if use_cache:
            self._cache[key] = playbook
        return playbook

    def validate(self, yaml_content: str) -> tuple[bool, str | None]:
        """Return whether a text is a playbook, and what is wrong."""
        return _validity(yaml_content)

    def validate_file(self, path: str | Path) -> tuple[bool, str | None]:
        """Return whether a file is a playbook, and what is wrong; also that there is none."""
        try:
            content = _content(path)
        except FileNotFoundError as error:
            return False, str(error)
        return _validity(content, str(path))

    def to_dict(self, playbook: Playbook) -> dict[str, Any]:
        """Return the canonical plain form."""
        return playbook.to_dict()

    def to_yaml(self, playbook: Playbook) -> str:
        """Return the canonical form as YAML."""
        return playbook.to_yaml()

    def clear_cache(self) -> None:
        """Forget what was read."""
        self._cache.clear()

    def get_step(self, playbook: Playbook, step_name: str) -> Step | None:
        """Return the step of a name."""
        return playbook.step(step_name)

    def list_steps(self, playbook: Playbook) -> list[str]:
        """Return the names of the steps in the order of the document."""
        return [step.name for step in playbook.workflow]


#: The name under which one earlier engine has it.
PlaybookParserV2: Final = DSLParser


def _content(path: str | Path) -> bytes:
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"Playbook file not found: {path}")
    return file.read_bytes()


def _validity(content: str | bytes, name: str = "playbook.yaml") -> tuple[bool, str | None]:
    try:
        read_playbook(content, name=name)
    except InvalidPlaybook as error:
        return False, str(error)
    return True, None


@lru_cache(maxsize=1)
def get_parser() -> DSLParser:
    """Return the parser of this process."""
    return DSLParser()


def parse_playbook(yaml_content: str, cache_key: str | None = None) -> Playbook:
    """Read a text by the parser of this process; as `DSLParser.parse`."""
    return get_parser().parse(yaml_content, cache_key)


def parse_playbook_file(path: str | Path, use_cache: bool = True) -> Playbook:  # noqa: FBT001, FBT002 - the seed's signature
    """Read a file by the parser of this process; as `DSLParser.parse_file`."""
    return get_parser().parse_file(path, use_cache)


def validate_playbook(yaml_content: str) -> tuple[bool, str | None]:
    """Return whether a text is a playbook, and what is wrong."""
    return get_parser().validate(yaml_content)


def validate_playbook_file(path: str | Path) -> tuple[bool, str | None]:
    """Return whether a file is a playbook, and what is wrong."""
    return get_parser().validate_file(path)
