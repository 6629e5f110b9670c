"""What `testing.definitions` forgets, and what stays known in the process."""

import sys

import pytest

from flowq import errors, flow, testing
from tests.tools.session import processes

#: The process has loaded nothing of flowq before its first block begins.
_PROGRAM = """
from flowq import testing

for _ in range(2):
    with testing.definitions():
        from flowq.playbooks import Playbook, Step, tool

        book = Playbook.new("two").add(Step("start", tool("noop"), args={"n": 1}))
        print(testing.run(book.flow, {"payload": {}})["result"])
"""


def test_playbooks_run_in_each_block_of_a_process() -> None:
    """Their program is imported at first use; a block that forgot it left none for the next one."""
    done = processes.run([sys.executable, "-c", _PROGRAM], cold=True)

    assert ("{'n': 1}\n" * 2, 0) == (done.stdout, done.returncode), done.stderr


def test_program_that_is_forgotten_is_refused() -> None:
    """It would wait for ever for a worker that knows it."""
    with testing.definitions():

        @flow
        async def once() -> int:
            return 1

        assert 1 == testing.run(once)

    with pytest.raises(errors.FlowNotFound, match="is forgotten: it was defined in a block"):
        testing.run(once)
