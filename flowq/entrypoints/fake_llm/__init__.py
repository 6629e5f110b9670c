"""A small OpenAI-compatible server that answers without a model: for tests and the demo.

Built on tornado, which Flower brings: nothing to install, an HTTP server that has been looked after
for fifteen years, and one process that keeps hundreds of slow answers in flight.
"""

from flowq.entrypoints.fake_llm.server import FakeLlm, Stats

__all__ = ["FakeLlm", "Stats"]
