"""All reads for pages in one class."""

from flowq.adapters.records.overview_picture import PictureReads


class SqlOverview(PictureReads):
    """Implements `flowq.engine.ports.overview.Overview`."""
