"""Programs, `async def` flows, at work: an attempt runs one until it waits; see `attempt`."""

from flowq.engine.programs.attempt import run_program

__all__ = ["run_program"]
