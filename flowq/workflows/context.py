"""Values by reference: `RuntimeContext.put` stores one, `get` returns it in any process.

    flowq://<run>/<key>     a given value or the result of a step of a run: in a row, or an object
    memory://<number>       a value of this process (`RuntimeContext(memory=True)`, for tests)

A stored value is the given value of a run without steps, so it is stored, shown and deleted after
the time of retention as any other.
"""

import secrets
from typing import Any, Final
from uuid import UUID

from flowq import bootstrap
from flowq.core.ids import RunId
from flowq.core.references import Reference
from flowq.core.results import NO_RESULT
from flowq.core.spec import FlowSpec
from flowq.core.states import StepState
from flowq.engine.advance.resolve import lookup
from flowq.engine.engine import Engine
from flowq.engine.registry.registry import RegisteredFlow
from flowq.engine.runs import submission
from flowq.workflows.compiling import value_key
from flowq.workflows.document.references import MEMORY, SCHEME

_KEY: Final = "value"
#: The name of the runs that store values.
STORED: Final = "workflow-value"
#: What the metadata of a run of this face says of it.
FACE: Final = "workflows"


class RuntimeContext:
    """Where references of workflows lead to.

    Args:
        memory: Keep values in this object instead of storing them.
        user_id: Whose values these are; None reads those of all users.
        engine: Where they are stored; else the engine of this process.
    """

    def __init__(
        self, *, memory: bool = False, user_id: str | None = None, engine: Engine | None = None
    ) -> None:
        self.user_id = user_id
        self.own_engine = engine
        self._values: dict[str, Any] | None = {} if memory else None

    @property
    def engine(self) -> Engine:
        """The engine."""
        return self.own_engine or bootstrap.engine()

    def put(self, value: Any) -> str:
        """Store a value and return its reference, which is a new one every time.

        Raises:
            NotSerializable: no codec can store it.
            DatabaseUnavailable: it could not be recorded.
            StoreUnavailable: it is large, and could not be stored.
        """
        if self._values is not None:
            reference = f"{MEMORY}{secrets.token_hex(16)}"
            self._values[reference] = value
            return reference
        spec = FlowSpec(
            name=STORED, steps=(), given={_KEY: NO_RESULT}, output=Reference(_KEY).to_json()
        )
        flow = RegisteredFlow(STORED, trace=lambda _: spec, validate=lambda inputs: inputs)
        run_id = submission.submit(
            self.engine,
            flow,
            {},
            values={_KEY: value},
            metadata={"face": FACE},
            user_id=self.user_id,
        )
        return reference_of(run_id, _KEY)

    def get(self, reference: str) -> Any:
        """Return a stored value.

        Raises:
            ValueError: there is none, or it is another user's.
            ResultMissing: it is recorded, but its object is missing.
        """
        if self._values is not None and reference in self._values:
            return self._values[reference]
        run_id, key = _parts(reference)
        if run_id is not None:
            definition = self.engine.records.autocommit(lambda tx: tx.runs.definition(run_id))
            if definition is not None and self.user_id in (None, definition.user_id):
                return load(self.engine, run_id, key, reference)
        raise _nothing(reference)


def reference_of(run_id: RunId, key: str) -> str:
    """Return the reference of a value of a run: of a step, by its id, or of a given value."""
    return f"{SCHEME}{run_id}/{key}"


def load(engine: Engine, run_id: RunId, key: str, reference: str) -> Any:
    """Return a value of a run.

    Raises:
        ValueError: there is none.
    """
    spec = engine.definitions.get(run_id).definition.spec
    known = {**dict.fromkeys(spec.given), **spec.by_key}
    key = value_key(known, key)
    if key not in known:
        raise _nothing(reference)
    if key not in spec.given:
        row = engine.records.autocommit(lambda tx: tx.steps.stored(run_id, [key]))[0]
        if row.status is not StepState.COMPLETED:
            raise _nothing(reference, f": its step is {row.status}")
    whole = Reference(key)
    return lookup(engine, run_id, [whole])(whole)


def _parts(reference: Any) -> tuple[RunId | None, str]:
    """Return the run and the key of a reference; no run if it is no such reference."""
    if not isinstance(reference, str) or not reference.startswith(SCHEME):
        return None, ""
    run, _, key = reference.removeprefix(SCHEME).partition("/")
    try:
        return RunId(UUID(run)), key
    except ValueError:
        return None, ""


def _nothing(reference: Any, why: str = "") -> ValueError:
    return ValueError(f"no value is stored under {reference!r}{why}")
