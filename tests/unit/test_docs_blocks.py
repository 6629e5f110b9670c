"""docs/documents/blocks.md names what the code has: settings, operations, conditions, codes."""

import json
import re
from pathlib import Path
from typing import Final

import pytest
from pydantic_core import PydanticUndefined

from flowq.blocks.document import read
from flowq.blocks.edges import chunk, ifelse, modify, structured
from flowq.blocks.edges.settings import Settings
from flowq.blocks.errors import TITLES

_PAGE: Final = (Path(__file__).parents[2] / "docs/documents/blocks.md").read_text(encoding="utf-8")
_MODELS: Final = [
    *[model for model, _ in chunk.MODES.values()],
    *[model for model, _ in modify.MODES.values()],
    modify.EditText,
    *[model for model, _ in structured.OPERATIONS.values()],
]


@pytest.mark.parametrize("model", _MODELS, ids=lambda model: model.__name__)
def test_page_has_every_setting_with_its_default(model: type[Settings]) -> None:
    for name, field in model.model_fields.items():
        default = field.get_default()
        shown = [] if default in (PydanticUndefined, None, []) else [json.dumps(default)]
        rows = [line for line in _PAGE.splitlines() if line.startswith("|") and f"`{name}`" in line]
        assert rows, name
        assert all(any(one in row for row in rows) for one in shown), (name, shown)


def test_page_has_every_operation_mode_condition_and_code() -> None:
    names = [*structured.OPERATIONS, *modify.MODES, *chunk.MODES, *ifelse.CONDITIONS]
    assert [name for name in names if f"`{name}`" not in _PAGE] == []
    codes = [code for code in TITLES if 3000 < code < 7000 and code != 6100]
    assert [code for code in codes if str(code) not in _PAGE] == []


def test_the_whole_ifelse_is_read_without_a_warning() -> None:
    texts: list[str] = re.findall(r"```json\n(.*?)```", _PAGE, re.DOTALL)
    [edge] = [found for found in map(json.loads, texts) if found.get("type") == "ifelse"]
    blocks = {block: {"data": {"content": ""}} for block in ("1", "2", "3")}
    assert read({"blocks": blocks, "edges": {"choose": edge}})[1] == []
