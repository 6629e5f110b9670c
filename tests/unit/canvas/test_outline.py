"""The picture of a canvas shows each task after those whose results it waits for."""

from celery import Celery, chain, group

from flowq.canvas.compiling import compile_canvas
from flowq.canvas.outline import outline
from flowq.canvas.plan import CanvasPlan
from flowq.core.graph import Graph
from flowq.core.spec import StepKind

app = Celery("drawn", set_as_current=False)


@app.task(name="a", shared=False)
def a() -> None:
    """Do nothing."""


@app.task(name="b", shared=False)
def b() -> None:
    """Do nothing."""


def test_each_task_is_after_what_it_waits_for() -> None:
    linked = b.s()
    linked.link(a.s())
    canvas = chain(a.s(), group(b.s(), linked), b.s().set(countdown=5), group(a.s(), a.s()))

    spec = outline(CanvasPlan(name="drawn", root=compile_canvas(canvas, app)))

    assert {step.key: step.after for step in spec.steps} == {
        "a": (),
        "b": ("a",),
        "b#2": ("a",),
        "a#2": ("b#2",),
        "b.countdown": ("b", "b#2"),
        "b#3": ("b.countdown",),
        "a#3": ("b#3",),
        "a#4": ("b#3",),
    }
    assert spec.step("b.countdown").kind is StepKind.TIMER
    assert [step.key for step in spec.steps] == list(Graph.of(spec).order)
