"""Steps and flows that exist only in one test.

A name belongs to one step as long as the process runs, even after the function that defined it has
returned. A test that runs many times, or shares a name with another, defines steps within a block:

    @pytest.fixture(autouse=True)
    def own_definitions():
        with flowq.testing.definitions():
            yield
"""

from contextlib import AbstractContextManager

from flowq.engine.registry.registry import registry


def definitions() -> AbstractContextManager[None]:
    """Return a block; the steps and flows that are defined in it are forgotten at its end.

    The definitions that every worker has stay, such as the program that runs playbooks.
    """
    # Python runs a module once, so what the block's end forgot of it would never come back.
    from flowq import builtin  # noqa: F401, PLC0415 - slow to load, for the tests that need it

    return registry.forgetting()
