"""All reads for pages in one class."""

from flowq.adapters.records.overview_costs import CostReads
from flowq.adapters.records.overview_flows import FlowReads
from flowq.adapters.records.overview_lists import ListReads
from flowq.adapters.records.overview_live import LiveReads
from flowq.adapters.records.overview_metrics import MetricReads
from flowq.adapters.records.overview_picture import PictureReads
from flowq.adapters.records.overview_run import RunPageReads
from flowq.adapters.records.overview_waits import WaitReads


class SqlOverview(
    ListReads,
    FlowReads,
    CostReads,
    PictureReads,
    RunPageReads,
    LiveReads,
    MetricReads,
    WaitReads,
):
    """Implements `flowq.engine.ports.overview.Overview`."""
