"""docs/documents/blueprints.md names every type of node and key, and its templates are imported."""

from typing import get_args

from flowq.playbooks.blueprints.compiling import compiled
from flowq.playbooks.blueprints.importing import read_file
from flowq.playbooks.blueprints.models import CallConfig, Node
from tests.tools.docs.pages import DOCS, block_of

PAGE = (DOCS / "documents/blueprints.md").read_text(encoding="utf-8")
TYPES = get_args(get_args(Node)[0])


def test_every_type_of_node_and_key_is_described() -> None:
    table = PAGE[PAGE.index("## Types of nodes") : PAGE.index("**Edges.**")]
    for model in TYPES:
        for kind in get_args(model.model_fields["type"].annotation):
            assert f"`{kind}`" in table
        for name, field in model.model_fields["config"].annotation.model_fields.items():
            assert f"`{field.alias or name}`" in table, (model, name)
    assert all(f"`{name}`" in table for name in CallConfig.model_fields)


def test_templates_of_the_page_are_imported() -> None:
    chat, greet = read_file(block_of("documents/blueprints.md", "yaml"))

    assert (chat[0].name, chat[1], len(chat[0].nodes)) == ("chat", True, 0)
    assert compiled(greet[0]).step("g") is not None
