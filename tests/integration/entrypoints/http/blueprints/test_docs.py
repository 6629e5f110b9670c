"""docs/documents/blueprints.md is true: each `curl` line is sent, and its answer compared."""

import json
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, get_args

import pytest

from flowq.engine.registry.registry import registry
from flowq.playbooks.blueprints.compiling import compiled
from flowq.playbooks.blueprints.importing import read_file
from flowq.playbooks.blueprints.models import CallConfig, Node
from tests.tools.docs.curl import block, examples, page, send
from tests.tools.http_service import client
from tests.tools.playing import Stage
from tests.tools.waiting import wait_until

PAGE = page("documents/blueprints.md")
TYPES = get_args(get_args(Node)[0])


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The step types of the page."""
    module = ModuleType("mails")
    monkeypatch.setitem(sys.modules, "mails", module)
    exec(block(PAGE, "python"), module.__dict__)
    yield
    for name in ("classify", "draft"):
        registry.steps.pop(name, None)


def pattern(expected: str) -> str:
    """Return what an answer has to match: `…` stands for anything."""
    return ".*".join(re.escape(part) for part in expected.strip().split("…"))


@pytest.mark.usefixtures("mails")
def test_examples_answer_what_the_page_says(played: Stage) -> None:
    http, files, count = client(), {"triage.json": block(PAGE, "json")}, 0
    known: dict[str, str] = {}
    for command, expected in examples(PAGE):
        if "INSTANCE" in command:
            wait_until(lambda: is_over(http, known["INSTANCE"]), what="the instance is over")
        found = send(http, command, known, files)
        # Ids of the page are shortened; each is another one here.
        shown = re.sub(r'"01a\d…"', '"…"', expected)
        assert re.fullmatch(pattern(shown), found.strip(), re.DOTALL), f"{command}\n{found}"
        if command.endswith("@triage.json"):
            known["TEMPLATE"] = json.loads(found)["id"]
        if "/clone" in command:
            known["CLONE"] = json.loads(found)["id"]
        if "async" in command:
            known["INSTANCE"] = json.loads(found)["instance_id"]
        count += 1
    assert count == 17


def is_over(http: Any, instance: str) -> bool:
    status: str = http.get(f"/api/v2/instances/{instance}").json()["status"]
    return status == "completed"


def test_every_type_of_node_and_key_is_described() -> None:
    table = PAGE[PAGE.index("## Types of nodes") : PAGE.index("**Edges.**")]
    for model in TYPES:
        for kind in get_args(model.model_fields["type"].annotation):
            assert f"`{kind}`" in table
        for name, field in model.model_fields["config"].annotation.model_fields.items():
            assert f"`{field.alias or name}`" in table, (model, name)
    assert all(f"`{name}`" in table for name in CallConfig.model_fields)


def test_templates_of_the_page_are_imported() -> None:
    text = PAGE[PAGE.index("## Import templates") :]

    chat, greet = read_file(block(text, "yaml"))

    assert (chat[0].name, chat[1], len(chat[0].nodes)) == ("chat", True, 0)
    assert compiled(greet[0]).step("g") is not None
