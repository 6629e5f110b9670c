"""What docs/flows/llm.md shows runs as it stands there, with the fake model for a model."""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from flowq.entrypoints.fake_llm import FakeLlm
from tests.tools.session import processes

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/flows/llm.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```jinja (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

SHOW = """
import json
result = {}
for name, made in list(globals().items()):
    if isinstance(made, type) and getattr(made, "_step", None) and made.step_name:
        result[made.step_name] = made.step_type
print(json.dumps(result))
"""


@pytest.fixture
def environment(fake_llm: FakeLlm, tmp_path: Path, sqlite_url: str) -> dict[str, str]:
    for name, text in FILE.findall(PAGE):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    (tmp_path / "articles.py").write_text(BLOCK.findall(PAGE)[0], encoding="utf-8")
    own = {"FLOWQ_HOME": str(tmp_path), "FLOWQ_DATABASE_URL": sqlite_url, "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own}


def run(code: str, environment: dict[str, str], folder: Path) -> str:
    file = folder / "block.py"
    file.write_text(code, encoding="utf-8")
    done = processes.run([sys.executable, file], cwd=folder, env=environment)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def test_a_step_is_executed_alone(
    environment: dict[str, str], tmp_path: Path, fake_llm: FakeLlm
) -> None:
    text, numbers = run(BLOCK.findall(PAGE)[1], environment, tmp_path).splitlines()

    said = "Summarise this in at most 100 words: A long story."
    assert f"A fake answer to: {said}" == text
    tokens, cost, model = numbers.split()
    assert fake_llm.stats.input_tokens + fake_llm.stats.output_tokens == int(tokens)
    assert float(cost) > 0
    assert "fake" == model


def test_a_step_is_mapped_over_plain_values(
    environment: dict[str, str], tmp_path: Path, fake_llm: FakeLlm
) -> None:
    """An item is the value of the first input, and no dict, as the error says."""
    code = """
from flowq import errors, testing

print(testing.run(answers, {"questions": ["Why?", "How?"]}))


@flow
def wrong() -> list[str]:
    return texts(Ask().map([{"question": "Why?"}]))


try:
    testing.run(wrong)
except errors.RunFailed as error:
    print(error.message)
"""
    said, failed = run(BLOCK.findall(PAGE)[2] + code, environment, tmp_path).splitlines()

    asked = "A fake answer to: Answer in at most 20 words:"
    assert said == str([f"{asked} Why?", f"{asked} How?"])
    assert "the input of step 'ask' does not match its annotation: question: expected" in failed


@pytest.mark.parametrize(
    "number, kinds",
    [
        (3, {"thumbnail": "image_generation"}),
        (4, {"headlines": "news_gathering"}),
    ],
)
def test_classes_are_steps(
    environment: dict[str, str], tmp_path: Path, number: int, kinds: dict[str, str]
) -> None:
    out = run(BLOCK.findall(PAGE)[number] + SHOW, environment, tmp_path)

    assert kinds == json.loads(out)
