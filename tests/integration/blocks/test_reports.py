"""What is reported of documents that the engine runs: branches, loops, merges, large contents."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowq.adapters.results.memory import MemoryObjects
from flowq.blocks import edge_type, submit
from flowq.blocks.reports.frames import Frame
from flowq.blocks.tasks import Task
from flowq.core.errors import StoreUnavailable
from flowq.engine.attempts import outcomes
from flowq.engine.engine import Policies
from flowq.engine.events.follow import follow
from flowq.engine.results.store import ResultStore
from flowq.engine.sweeper.retention import collect
from tests.tools.documents import document, modify
from tests.tools.playing import Stage


def play(stage: Stage, data: dict[str, Any]) -> list[Frame]:
    """Run a document and return its frames."""
    run = submit(data, engine=stage.engine, user_id="ann")
    stage.dispatcher.run(stage.engine)
    while stage.sweep():
        stage.dispatcher.run(stage.engine)
    task = Task.find(stage.engine, str(run.id), "ann")
    translator = task.translator()
    return [frame for event in follow(stage.engine, run.id) for frame in translator.take(event)]


def contents(frames: Sequence[Frame]) -> list[dict[str, Any]]:
    """Return the data of the frames of v1; the last frame has none."""
    return [frame.v1["data"]["data"] for frame in frames if frame.v1 and "data" in frame.v1]


def names(frames: Sequence[Frame]) -> list[str]:
    return [frame.v2["event_type"] for frame in frames]


def choice(**targets: tuple[str, int]) -> dict[str, Any]:
    """Return an edge that passes block 1 on by its length: `long=("2", 5)`."""
    cases = {
        name: {
            "conditions": [
                {
                    "block": "1",
                    "condition": f"{'greater' if name == 'long' else 'less'}_than_n_chars",
                    "parameters": {"value": limit},
                    "operation": "/",
                }
            ],
            "thens": [{"from": "1", "to": target}],
        }
        for name, (target, limit) in targets.items()
    }
    outputs = {target: name for name, (target, _) in targets.items()}
    return {"type": "ifelse", "data": {"inputs": {"1": "a"}, "outputs": outputs, "cases": cases}}


def test_branch_that_is_not_taken_is_skipped_and_counts(stage: Stage) -> None:
    edges = {
        "choose": choice(long=("2", 5), short=("3", 5)),
        "on_long": modify("copy", {"2": "long"}, {"4": "x"}, content="{{long}}"),
        "on_short": modify("edit_text", {"3": "short"}, {"5": "y"}, content="short: {{short}}"),
    }
    frames = play(stage, document(edges, {"1": "hi", "2": "", "3": "", "4": "", "5": ""}))

    assert [{"3": "hi"}, {"5": "short: hi"}] == contents(frames)
    assert ["on_long"] == [
        frame.v2["edge_id"] for frame in frames if frame.v2["event_type"] == "EDGE_SKIPPED"
    ]
    last = frames[-1].v1
    assert last is not None
    assert ("COMPLETED", 5, 100.0) == tuple(
        last["task_status"][key] for key in ("status", "processed_blocks", "progress_percentage")
    )


@pytest.mark.parametrize("text,taken", [("hi", "short"), ("a longer text", "long")])
def test_dead_and_live_branches_meet(stage: Stage, text: str, taken: str) -> None:
    edges = {
        "choose": choice(long=("2", 5), short=("3", 5)),
        "on_long": modify("edit_text", {"2": "a"}, {"4": "x"}, content="long {{a}}"),
        "on_short": modify("edit_text", {"3": "a"}, {"4": "x"}, content="short {{a}}"),
        "after": modify("copy", {"4": "x"}, {"5": "y"}, content="{{x}}"),
    }
    frames = play(stage, document(edges, {"1": text, "2": "", "3": "", "4": "", "5": ""}))

    passed = {"short": "3", "long": "2"}[taken]
    assert [{passed: text}, {"4": f"{taken} {text}"}, {"5": f"{taken} {text}"}] == contents(frames)
    updated = [frame.v2["block_id"] for frame in frames if "block_id" in frame.v2]
    assert [passed, "4", "5"] == updated


def test_two_dead_branches_that_meet_end_the_run(stage: Stage) -> None:
    edges = {
        "choose": choice(long=("2", 50), short=("3", 1)),
        "on_long": modify("copy", {"2": "a"}, {"4": "x"}, content="{{a}}"),
        "on_short": modify("copy", {"3": "a"}, {"4": "x"}, content="{{a}}"),
        "after": modify("copy", {"4": "x"}, {"5": "y"}, content="{{x}}"),
    }
    frames = play(stage, document(edges, {"1": "hi", "2": "", "3": "", "4": "", "5": ""}))

    assert [] == contents(frames)
    assert 3 == names(frames).count("EDGE_SKIPPED")
    assert "WORKFLOW_COMPLETED" == names(frames)[-1]


def test_loop_is_reported_as_one_edge(stage: Stage) -> None:
    looped = {"type": "structured", "looped": True}
    edge = modify(
        "edit_text", {"1": "a", "2": "b", "3": "c"}, {"4": "out"}, content="{{a}} {{b}}{{c}}"
    )
    blocks: dict[str, Any] = {
        "1": {**looped, "data": {"content": ["hello", "bye"]}},
        "2": {**looped, "data": {"content": ["Ada", "Bob", "Cy"]}},
        "3": "!",
        "4": "",
    }
    frames = play(stage, document({"e": edge}, blocks))

    assert [{"4": [f"{a} {b}!" for a in ("hello", "bye") for b in ("Ada", "Bob", "Cy")]}] == (
        contents(frames)
    )
    assert 1 == names(frames).count("EDGE_STARTED")


def test_older_names_of_settings_are_warnings(stage: Stage) -> None:
    edge = modify(
        "edit_structured",
        {"1": "a"},
        {"2": "b"},
        content="{{a}}",
        extra_config={"operations": [{"type": "get", "params": {"key": [1]}}]},
    )
    frames = play(stage, document({"e": edge}, {"1": ["x", "y"], "2": ""}))

    assert [{"2": "y"}] == contents(frames)
    warnings = [one.v2["message"] for one in frames if one.v2["event_type"] == "WARNING"]
    assert 2 == len(warnings)
    assert "'extra_config' is read as 'extra_configs'" in warnings[0]


def test_loop_of_an_edge_that_waits_is_reported_as_one_edge(stage: Stage) -> None:
    @edge_type("test.greeting", waits=True)
    async def greeting(config: dict[str, Any], contents: dict[str, Any]) -> str:
        return f"Hello {contents['a']}!"

    looped: dict[str, Any] = {"type": "structured", "looped": True}
    edge = {"type": "test.greeting", "data": {"inputs": {"1": "a"}, "outputs": {"2": "b"}}}
    names_ = {**looped, "data": {"content": ["Ada", "Bob"]}}
    frames = play(stage, document({"e": edge}, {"1": names_, "2": ""}))

    assert [{"2": ["Hello Ada!", "Hello Bob!"]}] == contents(frames)
    assert ["EDGE_STARTED", "EDGE_COMPLETED"] == [one for one in names(frames) if "EDGE" in one]


# --- large contents ------------------------------------------------------------------------------


class Flaky(MemoryObjects):
    """Refuses the second chunk of the first content."""

    failed = False

    def put(self, key: str, data: bytes | Path) -> None:
        if not self.failed and key.endswith("chunk_000001.txt"):
            self.failed = True
            raise StoreUnavailable("the disk is full")
        super().put(key, data)


def test_failed_upload_is_reported_repeated_and_collected(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_FIRST_DELAY", timedelta(milliseconds=10))
    objects, now = Flaky(), Policies(orphans_after=timedelta(0), resend_after=timedelta(0))
    results = ResultStore(None, lambda: objects, 10)
    stage = replace(stage, engine=replace(stage.engine, results=results, policies=now))
    large = "x" * (1024 * 1024 + 1)
    copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
    frames = play(stage, document({"e": copy}, {"1": large, "2": ""}))

    streams = [frame.v2 for frame in frames if frame.v2["event_type"].startswith("STREAM")]
    assert ["STREAM_STARTED", "STREAM_ERROR", "STREAM_STARTED", "STREAM_ENDED"] == [
        one["event_type"] for one in streams
    ]
    assert streams[0]["version_id"] == streams[1]["version_id"] != streams[2]["version_id"]
    (external,) = contents(frames)
    assert streams[3]["resource_key"] == external["2"]["external_metadata"]["resource_key"]
    versions = {key.split("/")[3] for key in objects.keys() if key.startswith("blocks/")}  # noqa: SIM118
    assert 2 == len(versions)
    assert 1 == collect(stage.engine)  # the first chunk of the first version
    left = {key.rpartition("/")[0] for key in objects.keys() if key.startswith("blocks/")}  # noqa: SIM118
    assert {f"blocks/{streams[3]['resource_key']}"} == left


def test_content_that_is_missing_fails_the_task(stage: Stage) -> None:
    copy = modify("copy", {"1": "a"}, {"2": "b"}, content="{{a}}")
    other = modify("copy", {"3": "c"}, {"4": "d"}, content="{{c}}")
    kept = {"type": "text", "storage_class": "external", "data": {"content": ""}}
    (made,) = contents(play(stage, document({"e": copy}, {"1": "x", "2": kept})))
    metadata = made["2"]["external_metadata"]
    given = {"type": "text", "data": {"external_metadata": metadata}}
    again = document({"e": copy, "f": other}, {"1": given, "2": "", "3": "y", "4": ""})
    assert [{"2": "x", "4": "y"}] == contents(play(stage, again))

    stage.engine.results.objects.delete([f"blocks/{metadata['resource_key']}/chunk_000000.txt"])
    frames = play(stage, again)
    assert [] == contents(frames)
    assert "WORKFLOW_ERROR" == names(frames)[-1]
    assert "chunk_000000.txt" in frames[-1].v2["error"]
