"""A canvas as a durable run: `durable(signature)`, its handle, and the graph of its tasks.

    run = durable(chain(fetch.s(url), parse.s(), save.s())).enqueue(user_id="ada")
    run.result(timeout=60)

The canvas is checked and compiled by `durable`, in the process that has the tasks; nothing is
recorded for one that is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Unpack

from flowq import bootstrap
from flowq.authoring.definitions.flows import AsyncFlow
from flowq.canvas.compiling import compile_canvas
from flowq.canvas.outline import outline
from flowq.canvas.plan import CanvasPlan, leading_task
from flowq.canvas.program import canvas
from flowq.canvas.values import decoded
from flowq.client import Run
from flowq.client.submitting import asubmit, submit
from flowq.core.names import check_name
from flowq.core.spec import FlowSpec
from flowq.engine.runs.options import SubmitOptions

#: What the metadata of a run of this face says of it.
FACE: Final = "canvas"


@dataclass(frozen=True)
class CanvasRun(Run[Any]):
    """A run of a canvas. Its result is that of the canvas, as a task of Celery would get it."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result; as `Run.result`."""
        return decoded(super().result(timeout))

    async def aresult(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - as of `Run`
        """Like `result`, without blocking the event loop."""
        return decoded(await super().aresult(timeout))


class CanvasFlow(AsyncFlow[[], Any]):
    """A canvas as a flow without inputs."""

    @classmethod
    def of(cls, inputs: Mapping[str, Any]) -> "CanvasFlow":
        """Return the program of all canvases with the inputs of one."""
        made = cls.__new__(cls)
        vars(made).update(vars(canvas))
        made.type = replace(canvas.type, validate=lambda _: canvas.type.validate(inputs))
        return made

    def preview(self) -> FlowSpec:
        """Return the graph of its tasks, without running anything."""
        return outline(CanvasPlan.model_validate(self.type.validate({})["canvas"]))


class Durable:
    """A canvas that was checked; made by `durable`.

    Attributes:
        plan: What its signatures mean.
    """

    def __init__(self, plan: CanvasPlan) -> None:
        self.plan = plan

    @property
    def flow(self) -> CanvasFlow:
        """The canvas as a flow without inputs, for `flowq.testing` and `flowq run`."""
        return CanvasFlow.of(self._inputs)

    def preview(self) -> FlowSpec:
        """Return the graph of its tasks, without running anything; `flowq graph` draws it."""
        return self.flow.preview()

    @property
    def _inputs(self) -> dict[str, Any]:
        return {"canvas": self.plan.to_json()}

    def enqueue(self, **options: Unpack[SubmitOptions]) -> CanvasRun:
        """Start a run on workers.

        Args:
            options: Options of the run: `user_id`, `metadata`, `idempotency_key`, `deadline`,
                `session` and more, as of a flow.

        Returns:
            The run.

        Raises:
            InvalidInput: an option does not fit, or the canvas is too large; nothing was recorded.
            DatabaseUnavailable: the run could not be recorded.
        """
        run = submit(canvas.type, self._inputs, **_with_face(options))
        return CanvasRun(run.id, self.plan.name)

    async def aenqueue(self, **options: Unpack[SubmitOptions]) -> CanvasRun:
        """As `enqueue`, without blocking the event loop; `session` is an `AsyncSession`."""
        run = await asubmit(canvas.type, self._inputs, **_with_face(options))
        return CanvasRun(run.id, self.plan.name)

    def __repr__(self) -> str:
        return f"<Durable {self.plan.name}>"


def durable(signature: Any, *args: Any, name: str | None = None) -> Durable:
    """Return a canvas of Celery as what can be started as a durable run.

    Args:
        signature: `task.s(…)`, `chain`, `group`, `chord`, `task.map`, `starmap` or `chunks`, nested
            as Celery allows; or its dict form. Its tasks are those of the app that flowq is
            installed on.
        args: Arguments before those of its first tasks, as of `signature.delay(*args)`.
        name: The name of its runs; that of its first task when left out.

    Raises:
        InvalidFlow: it has something that a durable run cannot express, or an unknown task.
        NotSerializable: an argument has no JSON form.
    """
    root = compile_canvas(signature, bootstrap.app(), args)
    if name is None:
        first = leading_task(root)
        name = "canvas" if first is None else first.shadow
    check_name(name, "canvas", "durable(…)")
    return Durable(CanvasPlan(name=name, root=root))


def _with_face(options: SubmitOptions) -> SubmitOptions:
    given: SubmitOptions = {**options}
    given["metadata"] = {**(given.get("metadata") or {}), "face": FACE}
    return given
