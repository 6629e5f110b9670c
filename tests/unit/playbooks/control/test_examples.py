"""Documents as people write them: pages with a retry, a loop, a fan-out with a join."""

from typing import Any, Final

from flowq.playbooks.control.commands import Command
from flowq.playbooks.control.events import Failure
from tests.tools.controls.driving import Drive, playbook

PAGES: Final = playbook(
    {
        "step": "start",
        "tool": {
            "kind": "http",
            "endpoint": "{{ workload.url }}/orders",
            "params": {"page": 1, "size": 2},
        },
        "case": [
            {
                "when": "event.name == 'call.done' and error is defined and error.status == 503",
                "then": [
                    {"retry": {"max_attempts": 3, "initial_delay": 0.5, "backoff_multiplier": 2}}
                ],
            },
            {
                "when": "event.name == 'call.done' and response.data.paging.hasMore",
                "then": [
                    {
                        "collect": {
                            "from": "response.data.items",
                            "into": "orders",
                            "mode": "extend",
                        }
                    },
                    {"call": {"params": {"page": "{{ response.data.paging.page + 1 }}"}}},
                ],
            },
            {
                "when": "event.name == 'call.done'",
                "then": [
                    {
                        "collect": {
                            "from": "response.data.items",
                            "into": "orders",
                            "mode": "extend",
                        }
                    },
                    {"result": {"from": "ctx.orders"}},
                    {"next": [{"step": "count", "args": {"orders": "{{ ctx.orders }}"}}]},
                ],
            },
        ],
    },
    {"step": "count", "tool": {"kind": "python", "code": "def main(orders): …"}},
    workload={"url": "http://localhost:8123"},
)


class Server:
    """Three pages of two orders; the second page fails once."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __call__(self, command: Command) -> object:
        page = command.tool.config["params"]["page"]
        self.seen.append(command.tool.config["params"])
        if page == 2 and command.attempt == 1:
            return Failure("HTTP 503", type="HTTPError", status=503)
        body = {
            "items": [{"id": 2 * page - 1}, {"id": 2 * page}],
            "paging": {"page": page, "hasMore": page < 3},
        }
        return {
            "status": 200,
            "status_code": 200,
            "headers": {},
            "url": command.tool.config["endpoint"],
            "elapsed_ms": 1,
            "data": body,
        }


def test_pages_with_a_retry_and_a_transition() -> None:
    server = Server()
    drive = Drive(PAGES, {"start": server, "count": lambda c: {"count": len(c.args["orders"])}})

    pages = [1, 2, 2, 3]
    assert [{"page": page, "size": 2} for page in pages] == server.seen
    calls = [(c.page, c.attempt, c.backoff) for c in drive.commands[:4]]
    assert [(1, 1, None), (2, 1, None), (2, 2, 0.5), (3, 1, None)] == calls
    assert "http://localhost:8123/orders" == drive.commands[0].tool.config["endpoint"]
    assert "count" == drive.control.outcome().final_step
    assert {"count": 6} == drive.result
    assert {"orders": [{"id": number} for number in range(1, 7)]} == drive.ctx


def looped(numbers: object) -> Drive:
    book = playbook(
        {
            "step": "start",
            "loop": {"in": "{{ workload.numbers }}", "iterator": "n"},
            "args": {"n": "{{ n }}", "at": "{{ loop_index }}"},
            "next": [{"step": "sum"}],
        },
        {"step": "sum"},
        workload={"numbers": numbers},
    )
    return Drive(
        book,
        {
            "start": lambda c: {**c.args, "square": c.args["n"] ** 2},
            "sum": lambda c: sum(one["square"] for one in c.args["loop_results"]["results"]),
        },
    )


def test_loop_over_numbers() -> None:
    drive = looped([1, 2, 3])

    assert {
        "results": [
            {"n": 1, "square": 1, "at": 0},
            {"n": 2, "square": 4, "at": 1},
            {"n": 3, "square": 9, "at": 2},
        ],
        "stats": {"total": 3, "success": 3, "failed": 0},
    } == drive.commands[-1].args["loop_results"]
    assert 14 == drive.result


def test_loop_over_nothing() -> None:
    assert 0 == looped([]).result


def test_parallel_loop_is_one_map() -> None:
    """Its list is in the command; what needs an item is left to the worker."""
    book = playbook(
        {
            "step": "start",
            "loop": {"in": [1, 2], "iterator": "n", "mode": "parallel", "max_concurrency": 20},
            "tool": {"kind": "http", "endpoint": "{{ workload.url }}/{{ n }}", "method": "GET"},
            "args": {"n": "{{ n }}"},
            "case": [{"when": "event.name == 'loop.done'", "then": [{"set": {"ctx": {"a": 1}}}]}],
        },
        workload={"url": "http://localhost"},
    )
    drive = Drive(book, {"start": [["one", "two"]]})

    (command,) = drive.commands
    assert ("map", (1, 2), "n", 20) == (
        command.work,
        command.items,
        command.iterator,
        command.max_concurrency,
    )
    record = command.to_queue_record()
    assert {
        "endpoint": {
            "$text": "{{ workload.url }}/{{ n }}",
            "names": {"workload": {"url": "http://localhost"}},
        },
        "method": "GET",
    } == record["tool_config"]
    assert {"n": {"$text": "{{ n }}", "names": {}}} == record["args"]
    stats = {"total": 2, "success": 2, "failed": 0}
    assert {"results": ["one", "two"], "stats": stats} == drive.result


def test_fan_out_and_join() -> None:
    def steps(join: str) -> list[str]:
        book = playbook(
            {"step": "start", "next": [{"step": "a"}, {"step": "b"}]},
            {"step": "a", "next": [{"step": "join"}]},
            {"step": "b", "next": [{"step": "join"}]},
            {"step": "join", "join": join, "next": [{"step": "end"}]},
            {"step": "end"},
        )
        return Drive(book).steps()

    assert ["start", "a", "b", "join", "end"] == steps("all")
    assert ["start", "a", "b", "join", "join", "end"] == steps("each")
