"""Steps and flows that a test defines for itself, and that no other test meets.

A name belongs to one step for the life of a process, also when the function that has defined it has
ended. A test that runs many times, or that shares a name with another, defines within a block:

    @pytest.fixture(autouse=True)
    def own_definitions():
        with flowq.testing.definitions():
            yield
"""

from contextlib import AbstractContextManager

from flowq.engine.registry.registry import registry


def definitions() -> AbstractContextManager[None]:
    """Return a block at whose end the steps and flows that it defines are forgotten."""
    return registry.forgetting()
