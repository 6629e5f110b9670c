"""All reads for pages in one class."""

from flowq.adapters.records.overview_costs import CostReads
from flowq.adapters.records.overview_flows import FlowReads
from flowq.adapters.records.overview_lists import ListReads
from flowq.adapters.records.overview_picture import PictureReads


class SqlOverview(ListReads, FlowReads, CostReads, PictureReads):
    """Implements `flowq.engine.ports.overview.Overview`."""
