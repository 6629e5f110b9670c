"""The tab Logs reads what its address names, and nothing where contents are hidden."""

import logging

from flowq.engine.model.logs import LogFilter
from flowq.entrypoints.flower.pages.run.logs import logs, wanted
from flowq.entrypoints.flower.pages.run.request import RunQuery, read_page
from tests.integration.entrypoints.http.test_logs import logged
from tests.tools.playing import Stage


def test_address_says_which_lines() -> None:
    assert wanted(RunQuery()) == LogFilter()
    assert wanted(RunQuery(text="fetch[5]", attempt=2, level="error")) == LogFilter(
        "fetch", 5, 2, logging.ERROR
    )
    assert wanted(RunQuery(text="fetch#1[x]", level="loud")) == LogFilter("fetch#1[x]")


def test_lines_are_read_where_contents_are_shown(stage: Stage) -> None:
    page = read_page(stage.engine, logged(stage).id)

    shown = logs(stage.engine, page, RunQuery(level="warning", shows_content=True))
    hidden = logs(stage.engine, page, RunQuery(level="warning"))

    assert [line.message[:4] for line in shown["lines"]] == ["<b>0", "<b>3", "<b>6", "<b>9"]
    assert (shown["more"], shown["live_lines"]) == (False, True)
    assert hidden["lines"] == []
