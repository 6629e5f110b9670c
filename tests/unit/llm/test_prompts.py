"""Prompts are checked when a step is defined, and say what is wrong with them."""

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from flowq.core.errors import InvalidFlow, InvalidPrompt, PromptNotFound, StepError
from flowq.llm.prompts import Prompt, folder_of


def prompt(folder: Path, text: str, *variables: str, **others: str) -> Prompt:
    for name, content in {"main.txt": text, **others}.items():
        (folder / name.replace("_", ".")).write_text(content)
    return Prompt("main.txt", folder, variables, where="step 'it'")


class Page(BaseModel):
    title: str
    price: Decimal = Decimal("1.50")


def test_values_are_put_in(tmp_path: Path) -> None:
    made = prompt(
        tmp_path, "Say {{ word }} {{ times }} times: {{ page.title }}\n", "word", "times", "page"
    )

    assert "Say hi 3 times: <b>&</b>" == made.render(
        {"word": "hi", "times": 3, "page": Page(title="<b>&</b>")}
    )


def test_what_is_no_text_becomes_json(tmp_path: Path) -> None:
    made = prompt(tmp_path, "{{ items }} {{ page }} {{ none }}", "items", "page", "none")

    text = made.render({"items": ["ä", 1], "page": Page(title="x"), "none": None})

    assert '["ä", 1] {"title": "x", "price": "1.50"} null' == text


def test_loops_and_includes(tmp_path: Path) -> None:
    made = prompt(
        tmp_path,
        "{% include 'rules.txt' %}\n{% for one in many %}\n- {{ one }}\n{% endfor %}",
        "many",
        "tone",
        rules_txt="Be {{ tone }}.\n",
    )

    assert "Be kind.\n- a\n- b" == made.render({"many": ["a", "b"], "tone": "kind"})


def test_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PromptNotFound, match=r"step 'it': there is no prompt .*/nothing.txt"):
        Prompt("nothing.txt", tmp_path, [], where="step 'it'")
    with pytest.raises(FileNotFoundError):
        Prompt("../../etc/passwd", tmp_path, [], where="step 'it'")


def test_missing_include_is_reported(tmp_path: Path) -> None:
    with pytest.raises(PromptNotFound, match=r"no prompt .*/rules.txt"):
        prompt(tmp_path, "{% include 'rules.txt' %}")


def test_unknown_variables_are_reported_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(InvalidPrompt) as caught:
        prompt(tmp_path, "{{ text }} {{ titel }} {{ z }}", "text", "title")

    assert "uses 'titel' and 'z', which its Inputs lack" in str(caught.value)
    assert "Inputs has: text, title" in str(caught.value)
    assert isinstance(caught.value, InvalidFlow)
    assert isinstance(caught.value, ValueError)


def test_unknown_variable_of_an_included_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InvalidPrompt, match="uses 'tone'"):
        prompt(tmp_path, "{% include 'rules.txt' %}", rules_txt="{{ tone }}")


def test_slip_of_syntax_is_reported_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidPrompt, match=r"is not a valid template: .* \(line 2\)"):
        prompt(tmp_path, "one\n{{ text", "text")


def test_missing_part_of_a_value_is_reported(tmp_path: Path) -> None:
    made = prompt(tmp_path, "{{ page.author }}", "page")

    with pytest.raises(StepError, match=r"prompt main.txt misses a value: .*author"):
        made.render({"page": Page(title="x")})


def test_templates_run_in_a_sandbox(tmp_path: Path) -> None:
    made = prompt(tmp_path, "{{ page.__class__.__mro__ }}", "page")

    with pytest.raises(StepError):
        made.render({"page": Page(title="x")})


def test_folder_is_beside_the_module_unless_someone_says_otherwise(tmp_path: Path) -> None:
    here = Path(__file__).parent

    assert here / "prompts" == folder_of(__name__, None, None)
    assert tmp_path == folder_of(__name__, None, tmp_path)
    assert here / "texts" == folder_of(__name__, "texts", tmp_path)
    assert tmp_path == folder_of(__name__, tmp_path, None)
    assert Path.cwd() / "prompts" == folder_of("nobody", None, None)
