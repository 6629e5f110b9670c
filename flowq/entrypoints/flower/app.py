"""Flower with the Flows tab: its application, and the hook for `celery flower`."""

from typing import Any

from flower import urls
from flower.app import Flower, rewrite_handler
from tornado.routing import URLSpec

from flowq.entrypoints.flower.live.streams import (
    FlowsLiveHandler,
    ManyLiveHandler,
    RunLiveHandler,
)
from flowq.entrypoints.flower.metrics.collector import MetricsPage
from flowq.entrypoints.flower.page import STATIC, Nothing, Static
from flowq.entrypoints.flower.pages.bulk import BULK, BulkPage
from flowq.entrypoints.flower.pages.compare import ComparePage
from flowq.entrypoints.flower.pages.costs import CostPage
from flowq.entrypoints.flower.pages.flow import FlowPage
from flowq.entrypoints.flower.pages.flows import FlowsPage
from flowq.entrypoints.flower.pages.run.actions import ACTIONS, RunAction
from flowq.entrypoints.flower.pages.run.page import ItemsPage, RunContent, RunTab
from flowq.entrypoints.flower.pages.run.signals import SignalPage
from flowq.entrypoints.flower.pages.run.step import StepHandler, StepOutput
from flowq.entrypoints.flower.pages.run.tabs import TABS
from flowq.entrypoints.flower.pages.schedules import ACTIONS as SCHEDULE_ACTIONS
from flowq.entrypoints.flower.pages.schedules import (
    BackfillPage,
    ScheduleChange,
    SchedulePage,
    SchedulesPage,
)
from flowq.entrypoints.flower.pages.start import RequestedPage, StartList, StartPage
from flowq.entrypoints.flower.templates import FlowsLoader

_RUN = r"/flows/([0-9a-f-]{36})"

#: The addresses of the tab, the most specific first; the names are for `reverse_url`.
RULES: list[URLSpec] = [
    URLSpec(r"/flows/static/(.+)", Static, {"path": str(STATIC)}, name="flows-static"),
    URLSpec(r"/flows/by-name/(.+)", FlowPage, name="flow-by-name"),
    URLSpec(r"/flows/start", StartList, name="flows-start"),
    URLSpec(r"/flows/start/(.+)", StartPage, name="flow-start"),
    URLSpec(r"/flows/requested/([0-9a-f-]{36})", RequestedPage, name="flow-requested"),
    URLSpec(r"/flows/cost", CostPage, name="flows-cost"),
    URLSpec(r"/flows/schedules/(.+)/backfill", BackfillPage, name="schedule-backfill"),
    URLSpec(
        rf"/flows/schedules/(.+)/({'|'.join(SCHEDULE_ACTIONS)})",
        ScheduleChange,
        name="schedule-change",
    ),
    URLSpec(r"/flows/schedules/(.+)", SchedulePage, name="schedule"),
    URLSpec(r"/flows/schedules", SchedulesPage, name="schedules"),
    URLSpec(_RUN + r"/(inputs|outputs)\.json", RunContent, name="flow-run-content"),
    URLSpec(_RUN + r"/signal", SignalPage, name="flow-run-signal"),
    URLSpec(_RUN + rf"/({'|'.join(ACTIONS)})", RunAction, name="flow-run-action"),
    URLSpec(_RUN + rf"/({'|'.join(TABS)})", RunTab, name="flow-run-tab"),
    URLSpec(_RUN + r"/steps/(.+)", ItemsPage, name="flow-run-items"),
    URLSpec(_RUN + r"/step/(.+)", StepHandler, name="flow-step"),
    URLSpec(_RUN + r"/output/(.+)", StepOutput, name="flow-step-output"),
    URLSpec(_RUN, RunTab, name="flow-run"),
    URLSpec(r"/flows/live/many", ManyLiveHandler, name="flows-live-many"),
    URLSpec(r"/flows/compare", ComparePage, name="flows-compare"),
    URLSpec(rf"/flows/bulk/({'|'.join(BULK)})", BulkPage, name="flows-bulk"),
    URLSpec(r"/flows/live", FlowsLiveHandler, name="flows-live"),
    URLSpec(_RUN + r"/live", RunLiveHandler, name="flow-live"),
    URLSpec(r"/flows", FlowsPage, name="flows"),
    URLSpec(r"/flows/.*", Nothing),
    URLSpec(r"/metrics", MetricsPage),
]


class FlowqFlower(Flower):  # type: ignore[misc]  # Flower has no types
    """Flower with the Flows tab."""

    def __init__(self, *, options: Any, **settings: Any) -> None:
        settings["template_loader"] = FlowsLoader()
        super().__init__(options=options, **settings)
        prefix = options.url_prefix
        self.add_handlers(
            r".*", [rewrite_handler(rule, prefix) for rule in RULES] if prefix else RULES
        )


def install() -> None:
    """Add the tab to the Flower that this process starts; for `flowerconfig.py`.

    Flower runs that file before it makes its application. Its rules and settings are two objects of
    a module, and this function changes them. Safe to call twice.
    """
    if RULES[0] not in urls.handlers:
        urls.handlers[:0] = RULES  # before Flower's own, since one of them replaces one of those
        urls.settings["template_loader"] = FlowsLoader()
