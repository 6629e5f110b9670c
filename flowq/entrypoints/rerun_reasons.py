"""Why a step of a rerun runs, in words for people."""

from typing import Final

from flowq.core.rerun import Why

#: Why a step runs, for people.
WHY: Final = {
    Why.FORK: "the rerun begins here",
    Why.NEW: "the run has no such step",
    Why.CHANGED: "the step or its inputs are others",
    Why.OPEN: "it has not completed",
    Why.UNREADABLE: "its result is gone",
    Why.DEPENDS: "a step before it runs",
}
