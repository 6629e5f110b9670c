"""The graph of a run of a playbook shows the steps of its document; of other runs, their own."""

import re

import pytest

from flowq import flow, step
from flowq.adapters.records.database import SqlRecords
from flowq.entrypoints.flower.pages.run import pictures
from flowq.entrypoints.flower.pages.run.request import RunQuery, read_page
from flowq.playbooks.parser import read_playbook
from flowq.playbooks.running.program import playbook
from tests.tools.playing import Played, Stage

TEXT = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: pictured}
workload: {numbers: [1, 2, 3]}
workflow:
  - step: start
    tool: {kind: noop}
    case: [{when: workload.never, then: {next: other}}]
    next: each
  - step: each
    loop: {in: "{{ workload.numbers }}", iterator: n, mode: parallel}
    tool: {kind: noop}
    args: {n: "{{ n }}"}
  - {step: other, tool: {kind: noop}}
"""


@pytest.fixture
def stage(records: SqlRecords) -> Stage:
    return Stage.on(records)


def graph(played: Played) -> str:
    engine = played.stage.engine
    page = read_page(engine, played.id)
    asked = RunQuery(link=lambda name, *parts: "/".join(map(str, (name, *parts))))
    return str(pictures.graph(engine, page, asked)["picture"])


def texts(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)


def test_a_playbook_is_drawn_by_its_steps(stage: Stage) -> None:
    document = read_playbook(TEXT).to_dict()

    svg = graph(stage.play(playbook, document=document, payload={}))

    assert {"start", "each", "other", "3 of 3", "not reached"} <= set(texts(svg))
    assert "when workload.never" in texts(svg)
    assert "steps?text=each" in svg


@step
async def named(document: str) -> str:
    return document


@flow
async def program_with_a_document(document: str) -> str:
    said: str = await named(document)
    return said


def test_another_program_with_a_document_is_drawn_by_its_calls(stage: Stage) -> None:
    svg = graph(stage.play(program_with_a_document, document="one"))

    assert any(text.startswith("named#") for text in texts(svg))
