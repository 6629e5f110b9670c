"""A durable canvas gives what Celery gives: for random canvases, for each form, after failures."""

from typing import Any

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature, _chain
from celery.contrib.testing.worker import start_worker
from celery.signals import setup_logging
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from flowq import testing
from flowq.canvas import durable
from flowq.canvas.values import encoded
from flowq.core.errors import InvalidInput, RunFailed
from flowq.core.ids import node_id
from flowq.core.states import RunState, StepState
from flowq.engine.runs.reruns import preview, rerun
from tests.integration.canvas.shop import SEEN, fail, join, play, report, report_id, see
from tests.tools.playing import Played, Stage

# --- random canvases -----------------------------------------------------------------------------

_tasks = some.builds(
    lambda number, immutable: join.signature((number,), immutable=immutable),
    some.integers(0, 9),
    some.booleans(),
)


def _composed(inner: some.SearchStrategy[Signature]) -> some.SearchStrategy[Signature]:
    several = some.lists(inner, min_size=1, max_size=3)
    return some.one_of(
        several.map(lambda tasks: chain(*tasks)),
        # A worker unrolls a group of one in other groups and chains; an eager call does not.
        some.lists(inner, min_size=2, max_size=3).map(group),
        some.builds(chord, several, inner),
    )


@given(some.recursive(_tasks, _composed, max_leaves=8))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_canvas_gives_what_celery_gives(stage: Stage, canvas: Any) -> None:
    real = canvas.clone().apply().get()
    given = stage.play(durable(canvas).flow).result()
    assert encoded(given, "the result") == encoded(real, "the result")


# --- each form, against a real worker ------------------------------------------------------------


def forms(join: Any) -> dict[str, Any]:
    """Return canvases of each form, of the task `join` of some app."""
    return {
        "task": join.s(1),
        "arguments that are given later": join.s(1, a=2).clone((0,)),
        "chain": chain(join.s(1), join.s(2), join.s(3)),
        "immutable": chain(join.s(1), join.si(2), join.s(3)),
        "group": group(join.s(1), join.s(2)),
        "nothing": group(),
        "group in a group": group(group(join.s(1), join.s(2)), join.s(3)),
        "chord": chord([join.s(1), join.s(2)], join.s(3)),
        "chord of nothing": chord([], join.s(3)),
        "group before a task": chain(join.s(0), group(join.s(1), join.s(2)), join.s(3)),
        "group of one before a task": chain(join.s(0), group(join.s(1)), join.s(3)),
        "two groups": chain(
            join.s(0), group(join.s(1), join.s(2)), group(join.s(3), join.s(1)), join.s(2)
        ),
        "chord in a chain": chain(join.s(0), chord([join.s(1), join.s(2)], join.s(3)), join.s(1)),
        "body is a group": chain(
            chord([join.s(1), join.s(2)], group(join.s(3), join.s(1))), join.s(2)
        ),
        "body is a chord": chord([join.s(1), join.s(2)], chord([join.s(3), join.s(1)], join.s(2))),
        "chord in a header": chord(
            [chord([join.s(1), join.s(2)], join.s(3)), join.s(1)], join.s(2)
        ),
        "group at the end of a header": chord(
            [chain(join.s(1), group(join.s(2), join.s(3))), join.s(1)], join.s(2)
        ),
        "group that is all of a group": group(chain(join.s(1), group(join.s(2), join.s(3)))),
        "chain in a chain": _chain(join.s(1), _chain(join.s(2), join.s(3)), join.s(1)),
        "immutable chain": _chain(
            join.s(1), _chain(join.s(2), join.s(3)).set(immutable=True), join.s(1)
        ),
        "arguments for a chain": chain(join.s(1), join.s(2)).clone((0,)),
        "arguments for a chord": chord([join.s(1), join.s(2)], join.s(3)).clone((0,)),
        "map": chain(join.s(1), join.map([1, 2]), join.s(2)),
        "starmap": join.starmap([(1, 2), (3, 4)]),
        "chunks": join.chunks([(1,), (2,), (3,)], 2),
        "chunks before a task": chain(join.chunks([(1,), (2,), (3,)], 2).group(), join.s(2)),
    }


def _keep_logging(**_: Any) -> None:
    """With a receiver of this signal Celery leaves the loggers alone."""


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    """What a worker of Celery gives for each form."""
    app = Celery("real", broker="memory://", backend="cache+memory://", set_as_current=False)
    own = app.task(name=join.name)(join.run)
    # The worker runs in this process, whose logging is not its own.
    setup_logging.connect(_keep_logging)
    with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False):
        sent = {name: form.apply_async() for name, form in forms(own).items()}
        given = {
            name: encoded(result.get(timeout=60, interval=0.02), name)
            for name, result in sent.items()
        }
    setup_logging.disconnect(_keep_logging)
    return given


def test_each_form_gives_what_a_worker_gives(stage: Stage, real: dict[str, Any]) -> None:
    plays = {name: stage.play(durable(form).flow) for name, form in forms(join).items()}
    assert {name: encoded(played.result(), name) for name, played in plays.items()} == real


def test_dict_form_gives_the_same() -> None:
    form = encoded(chain(join.s(1), group(join.s(2), join.s(3)), join.s(4)), "a signature")

    assert play(form) == [[[[1], 2], [[1], 3]], 4]


def test_canvas_is_not_changed_and_can_be_used_again() -> None:
    canvas = _chain(group(join.s(1), join.s(2)), join.s(3), group(join.s(4), join.s(5)))
    canvas.on_error(report.s())
    before = encoded(canvas, "a signature")

    assert play(canvas) == play(canvas) == [[[[[1], [2]], 3], 4], [[[[1], [2]], 3], 5]]
    assert encoded(canvas, "a signature") == before


def test_header_that_holds_a_group_keeps_the_order() -> None:
    """A worker of Celery turns the inner group round."""
    assert play(chord([group(join.s(1), join.s(2)), join.s(3)], join.s(4))) == [[[1], [2], [3]], 4]


# --- callbacks -----------------------------------------------------------------------------------


def test_link_gets_the_result_and_does_not_change_it() -> None:
    task = join.s(1)
    task.link(chain(join.s(2), see.s()))
    task.link(fail.s())

    started = testing.start(durable(chain(task, join.s(3))).flow)

    assert started.result() == [[1], 3]
    assert SEEN == [[[[1], 2]]]
    assert [step.key for step in started.steps if step.status is StepState.FAILED] == [
        f"{fail.name}#t2.1"
    ]


def test_link_of_a_chain_and_of_a_chord_is_of_their_last_task() -> None:
    for canvas in (_chain(join.s(1), join.s(2)), chord([join.s(1)], join.s(2))):
        canvas.link(see.s("linked"))
        result = play(canvas)
        assert SEEN == [[result, "linked"]]
        SEEN.clear()


def failure(canvas: Any) -> str:
    with pytest.raises(RunFailed) as failed:
        play(canvas)
    return str(failed.value)


def test_error_callback_gets_request_error_and_traceback() -> None:
    said = failure(chain(join.s(1), fail.s(2), see.s("never")).on_error(report.s()))

    assert "ValueError: broken" in said
    [[task, args, error, traceback]] = SEEN
    assert [task, args, error] == [fail.name, [[1], 2], "ValueError"]
    assert 'raise ValueError("broken")' in traceback


def test_error_callback_of_one_argument_gets_the_id() -> None:
    started = testing.start(durable(fail.s().on_error(report_id.s())).flow)

    with pytest.raises(RunFailed):
        started.result()
    assert [str(node_id(started.id, f"{fail.name}#1"))] == SEEN


def test_error_callback_that_is_immutable_gets_its_own_arguments() -> None:
    failure(fail.s().on_error(see.si("mine")))

    assert SEEN == [["mine"]]


def test_failed_header_lets_the_others_end_and_calls_back_from_the_body() -> None:
    failure(chord([fail.s(1), see.s("ran")], join.s(2).on_error(report.s())))

    assert SEEN == [["ran"], [join.name, [2], "ChordError", None]]


def test_failed_header_tells_each_task_of_a_group_the_error_itself() -> None:
    body = group(join.s(1).on_error(report.s()), join.s(2).on_error(report.s()))
    failure(chord([fail.s(1)], body))

    assert [[one[0], one[2]] for one in SEEN] == [[join.name, "ValueError"]] * 2


def test_callbacks_of_a_chain_are_not_of_a_group_that_is_a_header() -> None:
    failure(_chain(join.s(0), group(fail.s(), join.s()), join.s(9)).on_error(report.s()))

    assert [one[2] for one in SEEN] == ["ChordError"]


def test_error_callback_that_fails_changes_nothing() -> None:
    assert "ValueError" in failure(fail.s().on_error(fail.s()))


# --- reruns --------------------------------------------------------------------------------------


def test_rerun_takes_no_other_canvas(stage: Stage) -> None:
    """The program trusts its input: a client that could replace it could run any task."""
    played = stage.play(durable(chain(join.s(1), join.s(2))).flow)
    other = {"canvas": {"name": "x", "root": {"kind": "task", "name": "billing.refund"}}}

    with pytest.raises(InvalidInput, match="cannot be replaced"):
        rerun(stage.engine, played.id, inputs=other)

    again = rerun(stage.engine, played.id)
    stage.dispatcher.run(stage.engine)
    view = stage.records.autocommit(lambda tx: tx.runs.view(again))
    assert view is not None
    assert view.status is RunState.COMPLETED


def test_preview_of_a_rerun_has_what_was_not_called_yet(stage: Stage) -> None:
    """The plan of a canvas says it; that of another program is not known."""
    played = stage.play(durable(chain(join.s(1), fail.s(), group(see.s(), see.s()), join.s())).flow)
    assert played.status is RunState.FAILED

    found = preview(stage.engine, played.id)

    keys = [step.key.partition("#")[0].rpartition(".")[2] for step in found.steps]
    assert keys == ["join", "fail", "see", "see", "join"]
    assert [step.is_reused for step in found.steps] == [True, False, False, False, False]


def test_rerun_reuses_what_has_completed_beside_a_failed_task(stage: Stage) -> None:
    """Also if that failed first: later tasks are compared by their inputs."""
    beside = chain(join.s(1), join.s(2), see.s(3))
    canvas = durable(group(chain(fail.s(), see.s()), beside))
    played = stage.play(canvas.flow)
    assert (played.status, SEEN) == (RunState.FAILED, [[[[1], 2], 3]])

    again = Played(stage, rerun(stage.engine, played.id), played.flow)
    stage.dispatcher.run(stage.engine)

    assert again.status is RunState.FAILED
    assert len(SEEN) == 1
    attempts = {one.key: one.attempts for one in again.view.steps if "shop." in one.key}
    assert [key for key, count in attempts.items() if count] == [
        key for key in attempts if ".fail" in key
    ]
