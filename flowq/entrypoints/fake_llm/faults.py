"""What a model's name says about its answers: `fake-2s-429x2` is slow and refuses two calls first.

The parts of a name between hyphens that are listed here shape the answers; all others are just part
of the name, so `gpt-4o` and `fake` answer at once and well.

    0.5s     answers after half a second
    429      too many requests, with Retry-After      `-retry3s` sets its seconds, 1 by default
    500      any status from 400 on
    cut      the connection ends in the middle of the answer
    badjson  a body that is no JSON
    wrong    an answer that fits no schema
    out800   an answer of 800 tokens, as far as its usage says
    cached20 20 input tokens were in the provider's cache, as far as its usage says; at most all
    empty    an answer without any text

A fault may say how often: `429x2` hits the first two calls of each conversation, as told by its
first message; without a number it hits them all.
"""

import re
from dataclasses import dataclass, field
from typing import Final

_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s")
_RETRY: Final = re.compile(r"retry(\d+)s")
_STATUS: Final = re.compile(r"([45]\d\d)(?:x(\d+))?")
_KIND: Final = re.compile(r"(cut|badjson|wrong|empty)(?:x(\d+))?")
_OUTPUT: Final = re.compile(r"out(\d+)")
_CACHED: Final = re.compile(r"cached(\d+)")


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong with a model's calls.

    Attributes:
        kind: `cut`, `badjson`, `wrong` or an HTTP status.
        times: How many calls of a conversation it hits; None for all.
    """

    kind: str
    times: int | None = None

    @property
    def status(self) -> int | None:
        """The HTTP status that it answers with, if that is the fault."""
        return int(self.kind) if self.kind.isdigit() else None


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a model answers."""

    seconds: float = 0.0  #: Before it answers.
    retry_after: int = 1  #: What a 429 asks for.
    output_tokens: int | None = None  #: Instead of those of the text.
    cached_tokens: int = 0  #: Of those of the input, at most.
    faults: tuple[Fault, ...] = field(default=())

    def fault(self, earlier: int) -> Fault | None:
        """Return the fault of a call that `earlier` calls of its conversation went before."""
        for fault in self.faults:
            if fault.times is None or earlier < fault.times:
                return fault
            earlier -= fault.times
        return None


def behaviour(model: str) -> Behaviour:
    """Read a model's name."""
    seconds, retry_after, output, cached = 0.0, 1, None, 0
    faults: list[Fault] = []
    for part in model.split("-"):
        if found := _SECONDS.fullmatch(part):
            seconds = float(found[1])
        elif found := _RETRY.fullmatch(part):
            retry_after = int(found[1])
        elif found := _OUTPUT.fullmatch(part):
            output = int(found[1])
        elif found := _CACHED.fullmatch(part):
            cached = int(found[1])
        elif found := _STATUS.fullmatch(part) or _KIND.fullmatch(part):
            faults.append(Fault(found[1], int(found[2]) if found[2] else None))
    return Behaviour(seconds, retry_after, output, cached, tuple(faults))
