"""The recorded calls of a program, and where its code differs from them.

A call is recorded at its place. The same place must have the same name, kind and inputs in every
replay. Options like retries and timeouts, and the duration of a timer, may change with the code,
since the path of the program does not depend on them.
"""

import json
from collections.abc import Sequence

from flowq.core.errors import InvalidInput, NondeterminismError
from flowq.core.spec import CallSpec, StepSpec
from flowq.engine.replay.scopes import path_of
from flowq.engine.replay.values import ProgramCall, RecordedCall

#: Characters of the inputs that an error shows.
_SHOWN = 200


class Record:
    """The recorded calls of one program.

    Args:
        flow: The flow's name, for errors.
    """

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._known: dict[str, RecordedCall] = {}  # by place
        self._unmet: set[str] = set()  # places that the code has not reached yet
        self.broken: NondeterminismError | None = None  #: The first difference.

    def __bool__(self) -> bool:
        return bool(self._known)

    @property
    def is_copied(self) -> bool:
        """Whether all recorded calls are those of an earlier run, so that others may be new."""
        return all(
            isinstance(one.spec, CallSpec) and one.spec.reused is not None
            for one in self._known.values()
        )

    def knows(self, key: str) -> bool:
        """Return whether a call is recorded at the place of a key."""
        return path_of(key) in self._known

    def add(self, recorded: RecordedCall, *, made: bool, new: ProgramCall | None) -> None:
        """Add a call that has a row.

        Args:
            made: Whether the code has made the call of this key.
            new: That call, if it was not returned to the host yet.
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
        """Return whether a call of the code is recorded; it must then be the same call."""
        path = path_of(spec.key)
        known = self._known.get(path)
        if known is None:
            return False
        self._unmet.discard(path)
        self._compare(known, spec)
        return True

    def check_met(self) -> None:
        """Report a difference if the code has not made all recorded calls by now."""
        for path in sorted(self._unmet):
            gone = self._known[path]
            self._differ(
                f"{gone.key} is recorded ({_shown(gone.spec)}), and the code no longer calls it"
            )

    def check_observed(self, key: str) -> None:
        """Report a difference: an observed call was not made by the code."""
        self._differ(f"{key} is recorded, and the code no longer calls it at that point")

    def check_nothing_new(self, calls: Sequence[ProgramCall]) -> None:
        """Report a difference if there are new calls before the end of the record."""
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


def refuse_large(spec: StepSpec, limit: int) -> None:
    """Refuse a call whose row would have too many bytes.

    Raises:
        InvalidInput: its arguments, with the items of a map, have more than `limit` as JSON.
    """
    given = [spec.arguments, spec.map.items if spec.map is not None else None]
    size = len(json.dumps(given))
    if size > limit:
        raise InvalidInput(
            f"the arguments of {spec.kind} {spec.key!r} have {size:,} bytes as JSON, the limit is "
            f"{limit:,}",
            hint="pass results on as they are, by reference, or pass a path or a URL; or raise "
            "FLOWQ_INPUT_LIMIT_BYTES",
        )


def _shown(spec: StepSpec) -> str:
    return f"{spec.kind} {spec.name!r}"


def _inputs(spec: StepSpec) -> str:
    given = dict(spec.arguments)
    if spec.map is not None:
        given[spec.map.parameter] = spec.map.items
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"({shown})" if len(shown) <= _SHOWN else f"({shown[:_SHOWN]}…)"
