"""The parser of the seed and its helpers (rows N11 and N12)."""

from pathlib import Path

import pytest

from flowq import playbooks
from flowq.playbooks import (
    DSLParser,
    InvalidPlaybook,
    Playbook,
    PlaybookParserV2,
    get_parser,
    parse_playbook,
    parse_playbook_file,
    validate_playbook,
    validate_playbook_file,
)

TEXT = """
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: two, path: shop/two}
workflow:
  - {step: start, tool: {kind: noop}, next: end}
  - {step: end, tool: {kind: noop}}
"""


@pytest.fixture
def parser() -> DSLParser:
    return DSLParser()


def test_n11_parse_keeps_what_has_a_key(parser: DSLParser) -> None:
    first = parser.parse(TEXT, cache_key="two")

    assert first is parser.parse("something else", cache_key="two")
    assert first == parser.parse(TEXT)
    parser.clear_cache()
    with pytest.raises(ValueError, match="a playbook is a mapping"):
        parser.parse("something else", cache_key="two")


def test_n11_parse_file(parser: DSLParser, tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    with pytest.raises(FileNotFoundError, match=r"two\.yaml"):
        parser.parse_file(file)
    file.write_text(TEXT, encoding="utf-8")

    first = parser.parse_file(file)
    file.write_text(TEXT.replace("shop/two", "shop/three"), encoding="utf-8")

    assert first is parser.parse_file(str(file))
    assert "shop/three" == parser.parse_file(file, use_cache=False).metadata.path


def test_n9_n11_validate_says_what_is_wrong(parser: DSLParser, tmp_path: Path) -> None:
    assert (True, None) == parser.validate(TEXT)
    valid, error = parser.validate("a: [")
    assert not valid
    assert error is not None
    assert error.startswith("playbook.yaml:2:1: Invalid YAML: ")
    file = tmp_path / "two.yaml"
    assert not parser.validate_file(file)[0]
    file.write_text("workflow: []", encoding="utf-8")
    assert f"{file}:1:11: workflow: Workflow cannot be empty" in (
        parser.validate_file(file)[1] or ""
    )


def test_n11_steps_and_forms(parser: DSLParser) -> None:
    read = parser.parse(TEXT)

    assert ["start", "end"] == parser.list_steps(read)
    start = parser.get_step(read, "start")
    assert start is not None
    assert "noop" == start.tool.kind
    assert parser.get_step(read, "other") is None
    assert read == Playbook.of(parser.to_dict(read))
    assert read == parser.parse(parser.to_yaml(read))


def test_n12_helpers_use_one_parser(tmp_path: Path) -> None:
    get_parser().clear_cache()
    file = tmp_path / "two.yaml"
    file.write_text(TEXT, encoding="utf-8")

    assert get_parser() is get_parser()
    assert isinstance(get_parser(), PlaybookParserV2)
    assert parse_playbook(TEXT, "k") is get_parser().parse("", "k")
    assert parse_playbook_file(file) is get_parser().parse_file(file)
    assert (True, None) == validate_playbook(TEXT)
    assert (True, None) == validate_playbook_file(file)
    get_parser().clear_cache()


def test_an_error_can_be_sent_to_another_process() -> None:
    import pickle

    with pytest.raises(InvalidPlaybook) as refused:
        parse_playbook("a: 1")
    copy = pickle.loads(pickle.dumps(refused.value))

    assert (refused.value.problems, str(refused.value)) == (copy.problems, str(copy))


def test_every_public_name_exists() -> None:
    assert set(playbooks.__all__) <= set(dir(playbooks))
    assert all(getattr(playbooks, name) is not None for name in playbooks.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        playbooks.nothing  # noqa: B018
