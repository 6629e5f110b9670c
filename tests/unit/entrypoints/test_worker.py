"""What a failed step may say to Celery: nothing that Celery takes for an order to itself."""

import pytest
from celery.exceptions import Ignore, Reject

from flowq.core.errors import StepError
from flowq.entrypoints.worker import _plain


@pytest.mark.parametrize("error", [MemoryError("no more"), Reject("bad"), Ignore()], ids=repr)
def test_error_that_celery_obeys_becomes_a_failure_that_names_it(error: Exception) -> None:
    raised = _plain(error)

    assert type(raised) is StepError
    assert type(error).__name__ in str(raised)


def test_other_errors_stay_as_they_are() -> None:
    error = ValueError("mine")
    assert _plain(error) is error
