"""The page of all runs."""

from tornado.web import authenticated

from flowq.entrypoints.flower.handlers import Page


class FlowsPage(Page):
    """`/flows`: runs, newest first."""

    @authenticated
    async def get(self) -> None:
        """Show a page of runs."""
        runs = await self.read(
            lambda engine: engine.records.single(lambda tx: tx.runs.views(limit=50))
        )
        self.show("flows", runs=runs)
