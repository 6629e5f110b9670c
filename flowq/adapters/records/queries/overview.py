"""All reads for pages in one class."""

from flowq.adapters.records.queries.children import ChildReads
from flowq.adapters.records.queries.costs import CostReads
from flowq.adapters.records.queries.flow_page import FlowReads
from flowq.adapters.records.queries.graph import PictureReads
from flowq.adapters.records.queries.instances import InstanceReads
from flowq.adapters.records.queries.lists import ListReads
from flowq.adapters.records.queries.live import LiveReads
from flowq.adapters.records.queries.metrics import MetricReads
from flowq.adapters.records.queries.run_page import RunPageReads
from flowq.adapters.records.queries.schedules import ScheduleReads
from flowq.adapters.records.queries.step_page import StepPageReads
from flowq.adapters.records.runs.causes import CauseReads
from flowq.adapters.records.runs.waits import WaitReads


class SqlOverview(
    ListReads,
    CauseReads,
    InstanceReads,
    FlowReads,
    CostReads,
    PictureReads,
    RunPageReads,
    ChildReads,
    ScheduleReads,
    StepPageReads,
    LiveReads,
    MetricReads,
    WaitReads,
):
    """Implements `flowq.engine.queries.port.Overview`."""
