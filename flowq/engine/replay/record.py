"""What a run has recorded of its program, and where the program differs from it.

A call is recorded at its place. The same place must have the same name, the same kind and the same
inputs in every replay; options like retries and timeouts, and how long a timer runs, may change
with the code, since they do not decide what happens next.
"""

from collections.abc import Sequence

from flowq.core.errors import NondeterminismError
from flowq.core.spec import StepSpec
from flowq.engine.replay.scopes import path_of
from flowq.engine.replay.values import ProgramCall, RecordedCall

#: How much of the inputs an error shows.
_SHOWN = 200


class Record:
    """The recorded calls of one program.

    Args:
        flow: The flow's name, for errors.
    """

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._known: dict[str, RecordedCall] = {}  # by their places
        self._unmet: set[str] = set()  # places of those that the code has not called yet
        self.broken: NondeterminismError | None = None  #: The first difference.

    def __bool__(self) -> bool:
        return bool(self._known)

    def add(self, recorded: RecordedCall, *, made: bool, new: ProgramCall | None) -> None:
        """Add a call that has a row.

        Args:
            recorded: The call.
            made: Whether the code has made the call of this key.
            new: That call, if its host has not been told of it.
        """
        path = path_of(recorded.key)
        if path in self._known:
            return
        self._known[path] = recorded
        if not made:
            self._unmet.add(path)
        elif new is not None:
            self._compare(recorded, new.spec)

    def has(self, spec: StepSpec) -> bool:
        """Return whether a call that the code makes is recorded; it must be the same then."""
        path = path_of(spec.key)
        known = self._known.get(path)
        if known is None:
            return False
        self._unmet.discard(path)
        self._compare(known, spec)
        return True

    def check_met(self) -> None:
        """Differ, if the code has not made all recorded calls by now."""
        for path in sorted(self._unmet):
            gone = self._known[path]
            self._differ(
                f"{gone.key} is recorded ({_shown(gone.spec)}), and the code no longer calls it"
            )

    def check_observed(self, key: str) -> None:
        """Differ: a call has ended that the code has not made by then."""
        self._differ(f"{key} is recorded, and the code no longer calls it at that point")

    def check_nothing_new(self, calls: Sequence[ProgramCall]) -> None:
        """Differ, if there are calls, where the record goes on without them."""
        for call in calls:
            self._differ(
                f"the code calls {call.key} ({_shown(call.spec)}) at a point where the "
                "record has no such call"
            )

    def _compare(self, known: RecordedCall, spec: StepSpec) -> None:
        old = known.spec
        if (known.key, old.kind, old.name) != (spec.key, spec.kind, spec.name):
            self._differ(
                f"at {path_of(spec.key)} the code calls {_shown(spec)}, "
                f"and {_shown(old)} is recorded"
            )
        elif old.arguments != spec.arguments or old.map != spec.map:
            self._differ(
                f"{spec.key} is called with {_inputs(spec)}, and {_inputs(old)} is recorded"
            )

    def _differ(self, difference: str) -> None:
        if self.broken is None:
            self.broken = NondeterminismError(
                f"program {self._flow!r} does not match its record: {difference}",
                hint="the code was changed under a run that waits, or does not do the same each "
                "time: bring the old code back and resume the run, or cancel it",
            )


def _shown(spec: StepSpec) -> str:
    return f"{spec.kind} {spec.name!r}"


def _inputs(spec: StepSpec) -> str:
    given = dict(spec.arguments)
    if spec.map is not None:
        given[spec.map.parameter] = spec.map.items
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"({shown})" if len(shown) <= _SHOWN else f"({shown[:_SHOWN]}…)"
