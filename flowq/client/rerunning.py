"""The part of the handle of a run that reruns it."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Self, Unpack

from flowq import bootstrap
from flowq.client.awaiting import within
from flowq.core.ids import RunId
from flowq.engine.model.reruns import RerunPreview
from flowq.engine.registry.registry import registry
from flowq.engine.runs import reruns
from flowq.engine.runs.options import SubmitOptions


class Rerunning:
    """Reruns of a run; see `Run`."""

    id: RunId

    def rerun(
        self,
        from_step: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Self:
        """Start a new run that reuses what this one has completed, and runs the rest.

        Args:
            from_step: The key of a step, of a call or of an item (`fetch[3]`): it and all after it
                run, also those that have completed.
            inputs: Inputs that replace those of this run, by parameter.
            options: As of `enqueue`; user, metadata, budget and priority are those of this run
                unless given.

        Raises:
            RunNotFound: the run is gone.
            InvalidInput: it is not finished, or continues as another run; there is no such step; or
                an input or option does not fit.
            Unavailable: the database, or the object store, cannot be used now.
        """
        registry.check_steps()
        engine = bootstrap.engine()
        again = reruns.rerun(engine, self.id, from_step=from_step, inputs=inputs, **options)
        return replace(self, id=again)  # type: ignore[type-var]

    def rerun_preview(
        self, from_step: str | None = None, inputs: Mapping[str, Any] | None = None
    ) -> RerunPreview:
        """Return what `rerun` would reuse and run, and what that cost here; starts nothing."""
        registry.check_steps()
        engine = bootstrap.engine()
        return reruns.preview(engine, self.id, from_step=from_step, inputs=inputs)

    async def arerun(
        self,
        from_step: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Self:
        """Like `rerun`, without blocking the event loop; `session` is an `AsyncSession`."""
        session = options.pop("session", None)
        return await within(session, partial(self.rerun, from_step, inputs, **options))
