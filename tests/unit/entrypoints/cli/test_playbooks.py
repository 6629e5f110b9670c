"""`flowq playbook`: what a person types to check a document."""

import json
from pathlib import Path

import jsonschema
import pytest
from click.testing import CliRunner, Result

from flowq.entrypoints.cli.main import main
from flowq.playbooks import read_playbook

BROKEN = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: broken}
workflow:
  - step: start
    tool: {kind: noop}
    next:
      - step: load
        args: {n: 1}
      - step: sum
        args: {n: 2}

  - step: load
    command: SELECT 1
    tool: {kind: noop}
    next:
      -step: sum
  - step: end
  - {step: sum,
     tool: {kind: noop},
     desc: "adds",
        args: {a: 1}, case: [{
      when: "{{ response.data.hasMore} }}",
      then: {next: end}
     }],
     vars: {},
        args: {b: 2}}
"""

#: As the specification prints it.
SAID = """\
broken.yaml:14:5: workflow[1] (step 'load'): unknown key 'command'; fields of a tool stand below 'tool'
broken.yaml:17:7: workflow[1].next: must be a step's name, a list of names, or a list of {step, args}; found a mapping with the key '-step'
broken.yaml:18:5: workflow[2] (step 'end'): 'tool' is missing
broken.yaml:23:13: workflow[3].case[0].when: unexpected '}' at column 22 of the expression
broken.yaml:27:9: found duplicate key 'args'; the first is at 22:9
5 problems
"""  # noqa: E501

GOOD = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: good}
workflow:
  - {step: start, tool: {kind: noop}, next: end, retry: 2}
  - {step: end, tool: {kind: noop}}
  - {step: island, tool: {kind: noop}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("good.yaml").write_text(GOOD, encoding="utf-8")
    Path("broken.yaml").write_text(BROKEN, encoding="utf-8")


def flowq(*typed: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(main, ["playbook", *typed], input=stdin)


def test_validate_prints_every_problem_with_its_place() -> None:
    done = flowq("validate", "broken.yaml")

    assert (2, SAID, "") == (done.exit_code, done.stdout, done.stderr)


def test_validate_says_that_all_is_well_and_warns() -> None:
    done = flowq("validate", "good.yaml")

    assert (0, "good.yaml: ok, 3 steps\n") == (done.exit_code, done.stdout)
    assert (
        "Warning: good.yaml:7:5: workflow[2] (step 'island'): no step leads here; it never runs\n"
        == done.stderr
    )


def test_validate_checks_many_files_and_standard_input() -> None:
    done = flowq("validate", "-", "broken.yaml", stdin=GOOD)

    assert (2, f"-: ok, 3 steps\n{SAID}") == (done.exit_code, done.stdout)


def test_validate_expanded_prints_the_plain_form() -> None:
    done = flowq("validate", "--expanded", "good.yaml")

    assert 0 == done.exit_code
    assert read_playbook(GOOD) == read_playbook(done.stdout)
    assert "retry:\n      max_attempts: 2\n" in done.stdout


def test_validate_json() -> None:
    good = json.loads(flowq("validate", "--json", "--expanded", "good.yaml").stdout)
    done = flowq("validate", "--json", "broken.yaml")
    broken = json.loads(done.stdout)

    assert read_playbook(GOOD).to_dict() == good["document"]
    assert ["no step leads here; it never runs"] == [one["message"] for one in good["warnings"]]
    assert (2, False, 5) == (done.exit_code, broken["valid"], len(broken["problems"]))
    assert {
        "line": 18,
        "column": 5,
        "path": "workflow[2]",
        "message": "'tool' is missing",
    } == broken["problems"][2]


def test_validate_compat_accepts_what_other_engines_accept() -> None:
    other = GOOD.replace("next: end,", "next: end, next: end, colour: blue,")

    assert 2 == flowq("validate", "-", stdin=other).exit_code
    done = flowq("validate", "--compat", "-", stdin=other)
    assert 0 == done.exit_code
    assert "unknown key 'colour'" in done.stderr


def test_schema_is_that_of_what_is_read() -> None:
    schema = json.loads(flowq("schema").stdout)

    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(read_playbook(GOOD).to_dict(), schema)


DRAWN = """\
apiVersion: noetl.io/v2
kind: Playbook
metadata: {name: drawn, path: shop/drawn}
workflow:
  - step: start
    tool: {kind: noop}
    loop: {in: [1], iterator: n, mode: parallel}
    case:
      - {when: "response.more ==\\n  \\"yes\\"", then: {call: {params: {a: 1}}}}
      - {when: error is defined, then: {retry: 2}}
      - {when: loop.done, then: {call: {step: end}}}
    sink: {tool: {kind: noop}}
    next: end
  - {step: end, tool: {kind: noop}}
"""


def test_graph_shows_what_leads_from_a_step_to_another() -> None:
    assert (
        """\
shop/drawn  2 steps

  start \N{MULTIPLICATION SIGN} n  noop, for each n (parallel, 50 at once)
    -> next page when response.more == "yes"
    -> again when error is defined
    -> begins end when loop.done
    -> stores in start_sink
    -> end

  end  noop, joins all branches
"""
        == flowq("graph", "-", stdin=DRAWN).stdout
    )


def test_graph_as_mermaid() -> None:
    assert (
        """\
flowchart TD
    s0[["start \N{MULTIPLICATION SIGN} n<br/>noop"]]
    s1{{"end<br/>noop"}}
    s2[("start_sink")]
    s0 -->|"next page when response.more == &quot;yes&quot;"| s0
    s0 -->|"again when error is defined"| s0
    s0 -.->|"begins when loop.done"| s1
    s0 -.->|"stores in"| s2
    s0 --> s1
"""
        == flowq("graph", "--mermaid", "-", stdin=DRAWN).stdout
    )


def test_graph_of_a_broken_playbook_says_what_is_wrong() -> None:
    done = flowq("graph", "broken.yaml")

    assert 2 == done.exit_code
    assert "broken.yaml:18:5: workflow[2] (step 'end'): 'tool' is missing" in done.stderr
