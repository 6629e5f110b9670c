"""What `flowq doctor` says of workers."""

from flowq.adapters.dispatch.celery import ADVANCE, SCHEDULE, START
from flowq.engine.ports import Worker
from flowq.entrypoints.cli.doctor.checks import _older


def test_workers_with_an_older_flowq_are_named_and_no_others() -> None:
    queues = frozenset({"celery"})
    workers = [
        Worker("old", queues, frozenset({ADVANCE, "shop.fetch"})),
        Worker("no requests", queues, frozenset({ADVANCE, SCHEDULE})),
        Worker("new", queues, frozenset({ADVANCE, SCHEDULE, START})),
        Worker("of another app", queues, frozenset({"shop.mail"})),
    ]

    assert _older(workers) == ["no requests", "old"]
