"""States in Redis and documents in the database, for engines that are embedded (row N66)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import redis

from flowq.core.errors import InvalidInput
from flowq.playbooks import (
    Command,
    ControlFlowEngine,
    Event,
    Playbook,
    PlaybookRepo,
    RedisStateStore,
    StateConflict,
    Step,
    StoredPlaybooks,
    tool,
)
from flowq.playbooks.control.state import ExecutionState
from tests.tools.playing import Stage

LOOP = {"in": list(range(40)), "iterator": "n", "mode": "parallel", "max_concurrency": 40}
CASE = [
    {
        "when": "event.name == 'call.done' and response.n is defined",
        "then": {"collect": {"from": "response.n", "into": "all"}},
    }
]
book = Playbook.new("counted", path="tests/counted").add(
    Step("start", tool("http", url="x"), loop=LOOP, args={"n": "{{ n }}"}, case=CASE, next="sum"),
    Step("sum", tool("noop"), args={"n": "{{ ctx.all | sum }}"}),
)


@pytest.fixture
def client(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url.replace("redis+socket://", "unix://")) as client:
        yield client


def event(name: str, step: str | None = None, **payload: Any) -> Event:
    return Event(execution_id="exec-1", name=name, step=step, payload=payload)


def test_events_of_one_execution_are_handled_by_many_at_once(client: Any) -> None:
    repo = PlaybookRepo()
    repo.register(book, "exec-1")
    store = RedisStateStore(client)
    commands = ControlFlowEngine(repo, store).handle_event(event("workflow.start"))
    assert 40 == len(commands)

    def end(command: Command) -> list[Command]:
        """End a call by an engine of its own, as another process would."""
        engine = ControlFlowEngine(repo, RedisStateStore(client))
        done = {"command_id": command.id, "response": {"n": command.args["n"]}}
        return engine.handle_event(event("call.done", "start", **done))

    with ThreadPoolExecutor(8) as pool:
        followed = list(pool.map(end, commands))

    [last] = [command for each in followed for command in each]
    assert ("sum", {"n": sum(range(40))}) == (last.step, {"n": last.args["n"]})
    state = store.get("exec-1")
    assert state is not None
    assert list(range(40)) == sorted(state.context["all"])
    assert 41 == state.version


def test_a_state_that_was_changed_meanwhile_is_not_overwritten(client: Any) -> None:
    store = RedisStateStore(client, prefix="here:", expires_after=timedelta(hours=1))
    assert store.get("exec-1") is None
    store.save(ExecutionState("exec-1", {"a": 1}))
    one, other = store.get("exec-1"), store.get("exec-1")
    assert one is not None
    assert other is not None
    one.ctx["by"] = "one"
    store.save(one)

    for _ in range(2):  # its version is still that which was read
        with pytest.raises(StateConflict, match="has changed"):
            store.save(other)
    with pytest.raises(StateConflict):
        store.save(ExecutionState("exec-1", {}))
    saved = store.get("exec-1")
    assert saved is not None
    assert (2, {"by": "one"}) == (saved.version, saved.ctx)
    assert [b"here:exec-1"] == client.keys()
    assert 3_590_000 < client.pttl("here:exec-1") <= 3_600_000
    store.delete("exec-1")
    assert store.get("exec-1") is None


def test_documents_of_executions_are_in_the_database(stage: Stage) -> None:
    repo = StoredPlaybooks(stage.engine, owner="ann")
    assert repo.get_by_execution("exec-1") is None
    repo.register(book, "exec-1")
    repo.register(book, "exec-1")
    repo.register(book, "exec-2")

    assert book == repo.get_by_execution("exec-1") == repo.get_by_execution("exec-2")
    assert StoredPlaybooks(stage.engine, owner="bob").get_by_execution("exec-1") is None
    other = Playbook.new("counted", path="tests/counted").add(Step("start", tool("noop")))
    with pytest.raises(InvalidInput):
        repo.register(other, "exec-1")
    assert book == repo.get_by_execution("exec-1")
    repo.register(other, "exec-3")
    assert other == repo.get_by_execution("exec-3")
