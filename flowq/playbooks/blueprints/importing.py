"""Imports blueprints from files: one blueprint, or `workflow_templates` with groups of them.

    workflow_templates:
      basic:
        - {name: chat, description: …, default_params: {temperature: 0.2}, required_tools: [search]}
      extended:
        - {name: triage, nodes: […], edges: […]}

An entry becomes a template; what it has beside a blueprint's own keys goes into `config`, and an
entry without nodes is a draft. A file is imported whole or not at all. Imported again, an entry is
the next version of the template of its name and owner, or the same one if nothing has changed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from flowq.core.text.json_values import JsonPath
from flowq.engine.engine import Engine
from flowq.engine.model.documents import Document, DocumentHead, Viewer, Visibility
from flowq.engine.registry.registry import registry
from flowq.playbooks.blueprints import catalogue
from flowq.playbooks.blueprints.catalogue import Terms
from flowq.playbooks.blueprints.compiling import compiled
from flowq.playbooks.blueprints.models import Blueprint, read
from flowq.playbooks.blueprints.problems import InvalidBlueprint, Problem
from flowq.playbooks.document import reading
from flowq.playbooks.document.problems import InvalidPlaybook, shown_path

_KEY: Final = "workflow_templates"
_OWN: Final = frozenset(Blueprint.model_fields)


class Outcome(StrEnum):
    """What was done with an entry."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Imported:
    """An entry that was imported."""

    document: DocumentHead
    outcome: Outcome


def read_file(source: str | bytes, name: str = "") -> list[tuple[Blueprint, bool]]:
    """Read a file, in YAML or JSON.

    Args:
        source: Its text.
        name: Its name, for messages.

    Returns:
        Each blueprint, and whether it is a template.

    Raises:
        InvalidBlueprint: something in it is wrong; has all problems.
    """
    if not source.strip():
        raise InvalidBlueprint([Problem("", f"the file {name} is empty")])
    try:
        done = reading.read(source, name=name)
    except InvalidPlaybook as error:
        raise InvalidBlueprint([Problem("", str(one)) for one in error.problems]) from None
    problems = [Problem("", str(one)) for one in done.problems]
    found: list[tuple[Blueprint, bool]] = []
    seen: dict[str, str] = {}
    for path, entry, is_template in _entries(done.data, problems):
        where = shown_path(path)
        try:
            blueprint = read(entry)
            if blueprint.nodes:
                compiled(blueprint, registry.steps)
        except InvalidBlueprint as error:
            problems += [Problem(_below(where, one.path), one.message) for one in error.problems]
            continue
        if blueprint.name in seen:
            text = f"{blueprint.name!r} is the name of {seen[blueprint.name]}, too"
            problems.append(Problem(f"{where}.name", text))
        seen.setdefault(blueprint.name, where)
        found.append((blueprint, is_template))
    if problems:
        raise InvalidBlueprint(problems)
    return found


def _below(where: str, path: str) -> str:
    return f"{where}{'.' * bool(where and path)}{path}"


def _entries(data: Any, problems: list[Problem]) -> Iterator[tuple[JsonPath, Any, bool]]:
    """Yield the entries of a file: the place, the blueprint, and whether it is a template."""
    if not isinstance(data, Mapping):
        problems.append(Problem("", f"is neither a blueprint nor an object with {_KEY!r}"))
        return
    groups = data.get(_KEY)
    if groups is None:
        own = {name: value for name, value in data.items() if name != "is_template"}
        yield (), own, data.get("is_template") is True
        return
    if not isinstance(groups, Mapping):
        problems.append(Problem(_KEY, "is not an object of groups, such as basic and extended"))
        return
    for group, entries in groups.items():
        if not isinstance(entries, list):
            problems.append(Problem.at((_KEY, group), "is not a list of templates"))
            continue
        for at, entry in enumerate(entries):
            path = (_KEY, group, at)
            if isinstance(entry, Mapping):
                yield path, _blueprint(entry, group), True
            else:
                problems.append(Problem.at(path, "is not an object"))


def _blueprint(entry: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return an entry with what is not a blueprint's own in its `config`."""
    own = {name: value for name, value in entry.items() if name in _OWN and value is not None}
    more = {name: value for name, value in entry.items() if name not in _OWN}
    config = own.get("config", {})
    if not isinstance(config, Mapping):
        return own  # is refused as that
    return {**own, "config": {**config, **more, "group": group}}


def store(
    engine: Engine,
    blueprints: Sequence[tuple[Blueprint, bool]],
    viewer: Viewer,
    visibility: Visibility = Visibility.PRIVATE,
) -> list[Imported]:
    """Store what was read from a file.

    Args:
        engine: Where.
        blueprints: Each, and whether it is a template.
        viewer: Whose they will be; without a user, everybody may read them.
        visibility: Of those that are new.
    """
    known = {
        (head.labels["name"], head.is_template): head
        for head in _all(engine, viewer)
        if head.owner_id == viewer.user_id
    }
    return [
        _stored(engine, blueprint, known.get((blueprint.name, is_template)), viewer, terms)
        for blueprint, is_template in blueprints
        for terms in [Terms(is_template, visibility)]
    ]


def _stored(
    engine: Engine, blueprint: Blueprint, old: DocumentHead | None, viewer: Viewer, terms: Terms
) -> Imported:
    if old is None:
        return Imported(catalogue.create(engine, blueprint, viewer, terms), Outcome.CREATED)
    content = blueprint.plain()
    known: Document = catalogue.get(engine, old.id, viewer)
    if known.content == content:
        return Imported(known, Outcome.UNCHANGED)
    # What the file has no more is taken out, too.
    gone = {name: _EMPTY[name] for name in known.content if name not in content}
    return Imported(catalogue.update(engine, old.id, {**gone, **content}, viewer), Outcome.CHANGED)


_EMPTY: Final[Mapping[str, Any]] = {"description": "", "nodes": [], "edges": [], "config": {}}


def _all(engine: Engine, viewer: Viewer) -> Iterator[DocumentHead]:
    before, size = None, 500
    while True:
        part = catalogue.listed(engine, viewer, before=before, limit=size)
        yield from part
        if len(part) < size:
            return
        before = part[-1].id


def named(engine: Engine, name: str, viewer: Viewer) -> list[DocumentHead]:
    """Return the blueprints of a name that a viewer may read."""
    return [head for head in _all(engine, viewer) if head.labels["name"] == name]
