"""The page of a run, until there is more to it: its state and its error."""

from uuid import UUID

from tornado.web import authenticated

from flowq.core.errors import RunNotFound
from flowq.core.ids import RunId
from flowq.entrypoints.flower import parts
from flowq.entrypoints.flower.handlers import Page


class RunPage(Page):
    """`/flows/<id>`."""

    @authenticated
    async def get(self, text: str) -> None:
        """Show a run."""
        try:
            run_id = RunId(UUID(text))
        except ValueError:
            raise RunNotFound(f"{text} is no id of a run") from None
        run = await self.read(lambda engine: engine.records.single(lambda tx: tx.runs.head(run_id)))
        if run is None:
            raise RunNotFound(f"run {run_id} is not recorded")
        self.show("run_placeholder", run=run, parts=parts)
