"""Writes the parts of these pages that are made from code: `python docs/generate.py`.

Such a part stands between `<!-- generated: name -->` and `<!-- end -->`; all else on a page is
written by hand. A test fails when a page is not what this file would make of it.
"""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from annotated_types import Ge, Gt
from pydantic_settings import BaseSettings

from flowq.adapters.dispatch import app
from flowq.core import states
from flowq.entrypoints.http.settings import HttpSettings
from flowq.playbooks.document.grammar import documents
from flowq.playbooks.document.grammar.shapes import Form, Key, described
from flowq.playbooks.document.grammar.tools import KINDS
from flowq.settings import Settings

PAGES: Final = Path(__file__).parent

_PART: Final = re.compile(r"(<!-- generated: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
#: What a default that depends on another setting is shown as.
_DEFAULTS: Final = {
    "database_url": "`flowq.db` in `FLOWQ_HOME`",
    "results_url": "`results` in `FLOWQ_HOME`",
    "redis_url": "the embedded Valkey",
}


def render(page: str) -> str:
    """Return the text of a page with its generated parts made anew."""
    return _PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", page)


def settings() -> str:
    """Return the table of the settings of flowq that every process has."""
    return _settings(Settings)


def http_settings() -> str:
    """Return the table of the settings of the HTTP service."""
    return _settings(HttpSettings)


def _settings(kind: type[BaseSettings]) -> str:
    rows = []
    for name, field in kind.model_fields.items():
        default = _DEFAULTS.get(name) or f"`{field.default}`"
        rows.append([f"`FLOWQ_{name.upper()}`", default, _meaning(field)])
    return _table(["variable", "default", "meaning"], rows)


def celery_settings() -> str:
    """Return the recommended settings of Celery with their reasons."""
    source = inspect.getsource(app.celery_settings)
    [values] = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Return)]
    assert isinstance(values.value, ast.Dict)
    lines = source.splitlines()
    rows, reason = [], ""
    for key, value in zip(values.value.keys, values.value.values, strict=True):
        assert key is not None
        reason = _comment_above(lines, key.lineno) or reason
        rows.append([f"`{ast.literal_eval(key)}`", f"`{ast.unparse(value)}`", reason])
    return _table(["setting", "value", "why"], rows)


def run_states() -> str:
    """Return the table of the states of runs."""
    return _states(states.RunState, states.run_sources)


def step_states() -> str:
    """Return the table of the states of steps."""
    return _states(states.StepState, states.step_sources)


def playbook_keys() -> str:
    """Return the tables of all keys of playbooks, one for each form, without those of tools."""
    return "\n".join(
        f"**{form.name}.** {form.text}\n\n{_keys(form)}"
        for form in documents.forms()
        if form.name not in {kind.name for kind in KINDS.values()}
    )


def playbook_tools() -> str:
    """Return the tables of the fields of tools."""
    common = {key.name for key in KINDS["noop"].keys}
    parts = []
    for kind, form in KINDS.items():
        keys = [key for key in form.keys if key.name not in common]
        parts.append(f"**`{kind}`.** {form.text}\n\n{_keys(form, keys) if keys else ''}")
    return "\n".join([f"Every tool has these keys:\n\n{_keys(KINDS['noop'])}", *parts])


def _keys(form: Form, keys: Iterable[Key] | None = None) -> str:
    rows = [
        [f"`{key.name}`", key.shape.says, ("**needed.** " if key.missing else "") + described(key)]
        for key in keys or form.keys
    ]
    return _table(["key", "is", "meaning"], rows)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "settings": settings,
    "http-settings": http_settings,
    "celery-settings": celery_settings,
    "run-states": run_states,
    "step-states": step_states,
    "playbook-keys": playbook_keys,
    "playbook-tools": playbook_tools,
}


def _states(kind: Any, sources: Callable[[Any], frozenset[Any]]) -> str:
    meanings = dict(_meanings(kind))
    rows = []
    for state in kind:
        after = [f"`{to}`" for to in kind if state in sources(to)]
        rows.append([f"`{state}`", meanings[state.name], ", ".join(after) or "none"])
    return _table(["state", "when", "may become"], rows)


def _meanings(kind: type) -> Iterator[tuple[str, str]]:
    """Yield the members of an enum with the text of their `#:` comments."""
    source = inspect.getsource(kind)
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            written = "\n".join(lines[node.lineno - 1 : node.end_lineno])
            yield node.targets[0].id, written.partition("#: ")[2].partition("\n")[0]


def _comment_above(lines: list[str], number: int) -> str:
    """Return the comment that ends above a line of a source."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#"):
            break
        found.insert(0, line.strip().removeprefix("#").strip())
    return " ".join(found)


def _meaning(field: Any) -> str:
    limits = [f"more than {each.gt}" for each in field.metadata if isinstance(each, Gt)]
    limits += [f"at least {each.ge}" for each in field.metadata if isinstance(each, Ge)]
    return " ".join([field.description or "", *(f"({limit})" for limit in limits)])


def _table(head: list[str], rows: Iterable[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        f"| {' | '.join(cell.replace('|', '&#124;') for cell in line)} |\n" for line in lines
    )


def main() -> None:
    """Write all pages anew."""
    for page in sorted(PAGES.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        page.write_text(render(text), encoding="utf-8")


if __name__ == "__main__":
    main()
