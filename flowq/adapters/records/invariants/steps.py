"""What must hold for steps: rows, leases, timers, results and counts fit their states."""

from typing import Any, Final

from sqlalchemy import (
    Integer,
    Select,
    String,
    and_,
    bindparam,
    cast,
    exists,
    func,
    null,
    or_,
    select,
)

from flowq.adapters.records.invariants.base import (
    CALLED,
    ENDED,
    IS_MAP,
    LEASED,
    LONG_AGO,
    NODE,
    Check,
    R,
    S,
    in_state,
    steps,
)
from flowq.adapters.records.limits.shares import IN_LINE
from flowq.adapters.records.sql.repository import RUNS, STEPS, WAITS
from flowq.adapters.records.sql.types import DbNow, json_text
from flowq.core.results import StorageKind
from flowq.core.states import ACTIVE_STEP_STATES, TERMINAL_STEP_STATES, RunState, StepState

_O = STEPS.alias("other").c

_SAME = and_(_O.flow_run_id == S.flow_run_id, _O.step_key == S.step_key)


def _twin(same_place: Any) -> Select[Any]:
    twin = exists().where(_SAME, same_place, _O.id < S.id)
    return steps(twin, "there is another row of this step")


_ITEMS = (
    select(
        _O.flow_run_id.label("run_id"),
        _O.step_key.label("key"),
        func.count().label("count"),
        func.min(_O.map_index).label("first"),
        func.max(_O.map_index).label("last"),
    )
    .where(_O.map_index.is_not(None))
    .group_by(_O.flow_run_id, _O.step_key)
    .subquery("items")
)
_FOUND = func.coalesce(_ITEMS.c.count, 0)
_MAP = steps(
    and_(
        NODE,
        or_(
            func.coalesce(S.map_size, 0) != _FOUND,
            and_(_FOUND > 0, or_(_ITEMS.c.first != 0, _ITEMS.c.last != _FOUND - 1)),
        ),
    ),
    "map_size is {map_size}, it has {found} items, from {first} to {last}",
    found=_FOUND,
    first=_ITEMS.c.first,
    last=_ITEMS.c.last,
    of=STEPS.outerjoin(_ITEMS, and_(_ITEMS.c.run_id == S.flow_run_id, _ITEMS.c.key == S.step_key)),
)
_ITS_NODE = exists().where(_SAME, _O.map_index.is_(None))
_RECENT_ITEM = exists().where(
    _SAME,
    _O.map_index.is_not(None),
    or_(
        ~in_state(*TERMINAL_STEP_STATES, of=_O),
        _O.completed_at > LONG_AGO,
    ),
)
_OPEN_MAP = and_(in_state(StepState.RUNNING), IS_MAP, NODE)

_LEASE = steps(
    or_(
        and_(LEASED, or_(S.lease_token.is_(None), S.lease_expires_at.is_(None))),
        and_(~LEASED, or_(S.lease_token.is_not(None), S.lease_expires_at.is_not(None))),
    ),
    "it is {status}, lease_token is {lease_token}, lease_expires_at is {lease_expires_at}",
)
_SENT = in_state(StepState.QUEUED, StepState.RETRYING)
_TIMER = steps(
    # In a pending step this column is not used.
    or_(
        and_(_SENT, or_(S.wake_at.is_(None), S.batch_id.is_(None))),
        and_(
            S.wake_at.is_not(None), or_(ENDED, LEASED, and_(in_state(StepState.WAITING), ~CALLED))
        ),
    ),
    "it is {status}, wake_at is {wake_at}, batch_id is {batch_id}",
)
_END_TIME = steps(
    S.completed_at.is_not(None) != ENDED, "it is {status}, completed_at is {completed_at}"
)
_ERROR = steps(
    or_(
        and_(
            in_state(StepState.COMPLETED),
            or_(S.error_type.is_not(None), S.error_message.is_not(None)),
        ),
        and_(
            in_state(StepState.FAILED),
            or_(S.error_type.is_(None), S.error_message.is_(None)),
        ),
    ),
    "it is {status}, error_type is {error_type}, error_message is {error_message}",
)

_HEX_ID = func.replace(cast(S.id, String), "-", "")
_IS_ITS_OWN = func.replace(json_text(S.result, "key"), "-", "").contains(_HEX_ID)
_NO_RESULT = steps(
    and_(in_state(StepState.COMPLETED), ~IS_MAP, S.result.is_(null())),
    "it has completed without a result",
)
_NO_COPY = steps(
    # A step that waited for a child run may reference a row of that run.
    and_(
        in_state(StepState.COMPLETED),
        json_text(S.result, "place") == StorageKind.ROW,
        _IS_ITS_OWN,
        S.outputs.is_(null()),
    ),
    "its result is said to lie in its row, and does not",
)

_COUNTED = steps(
    or_(
        S.pending_dependencies < 0,
        and_(
            S.pending_dependencies != 0,
            ~in_state(StepState.PENDING, StepState.CANCELLED),
        ),
    ),
    "it is {status}, but pending_dependencies is {pending_dependencies}",
)
#: A batch is advanced as a whole.
_OPEN_MEMBER = exists().where(
    _O.flow_run_id == S.flow_run_id,
    _O.batch_id == S.batch_id,
    in_state(*ACTIVE_STEP_STATES, of=_O),
)
_UNADVANCED = steps(
    and_(ENDED, S.advanced.is_(False), S.completed_at <= LONG_AGO, ~_OPEN_MEMBER),
    "it is {status} since {completed_at}, and nobody went on",
)

_CAP = bindparam("p_recoveries", type_=Integer)
_RECOVERIES = steps(
    or_(S.recoveries > _CAP + 1, S.recoveries > S.attempt, S.recoveries < 0),
    "it was recovered {recoveries} times in {attempt} attempts, the cap is {cap}",
    cap=_CAP,
)
_OVERDUE = steps(
    and_(
        R.status.in_((RunState.RUNNING, RunState.PAUSED, RunState.CANCELLING)),
        or_(
            and_(R.status == RunState.RUNNING, _SENT, S.wake_at <= LONG_AGO),
            and_(LEASED, S.lease_expires_at <= LONG_AGO),
            and_(R.status == RunState.RUNNING, in_state(StepState.WAITING), S.wake_at <= LONG_AGO),
        ),
    ),
    "it is {status}, due at {due}",
    due=func.coalesce(S.wake_at, S.lease_expires_at),
    of=STEPS.join(RUNS),
)

#: Parked steps, those that wait for a limit, and those in a line; no other `wake_at` is so late.
_PARKED = steps(
    and_(
        R.status == RunState.RUNNING,
        in_state(StepState.QUEUED),
        S.wake_at > DbNow(365 * 86_400.0),
        ~exists().where(WAITS.c.step_run_id == S.id),
        ~and_(S.share.is_not(None), IN_LINE),
    ),
    "it is queued and looked at not before {wake_at}",
    of=STEPS.join(RUNS),
)

STEP_CHECKS: Final = (
    Check(
        "step once",
        "A step has one row in a run, and an item of a map one.",
        [
            # One for each, since an index can be used for one and not for both.
            _twin(_O.map_index == S.map_index),
            _twin(and_(_O.map_index.is_(None), NODE)),
        ],
    ),
    Check(
        "map items",
        "A map has as many items as it says, numbered from 0, and only a map has items.",
        [_MAP, steps(and_(~NODE, ~_ITS_NODE), "it is an item of nothing")],
    ),
    Check(
        "map ends",
        "A running map has an item that is open.",
        [steps(and_(_OPEN_MAP, ~_RECENT_ITEM), "all its items are terminal")],
    ),
    Check("lease", "Exactly the steps that a worker runs have a lease.", [_LEASE]),
    Check(
        "timer",
        "A queued or retrying step has a time to be looked at and a batch; a later one has none.",
        [_TIMER],
    ),
    Check(
        "on time",
        "No lease has lapsed, and no queued or retrying step or timer was due, "
        "without a sweeper acting.",
        [_OVERDUE],
    ),
    Check(
        "parked step",
        "A step is out of sight only if its run is paused, or it waits for a slot or its share.",
        [_PARKED],
    ),
    Check("step ends", "Exactly the terminal steps have an end time.", [_END_TIME]),
    Check("step error", "A failed step has an error, a completed one has none.", [_ERROR]),
    Check(
        "step result",
        "A completed step has a result, and the row that is to hold it does.",
        [_NO_RESULT, _NO_COPY],
    ),
    Check("step waits", "Only a step that is pending, or cancelled, waits for others.", [_COUNTED]),
    Check("step advanced", "After each finished batch someone went on.", [_UNADVANCED]),
    Check("recoveries", "No step was recovered more often than allowed.", [_RECOVERIES]),
)
