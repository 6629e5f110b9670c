"""Errors as clients of documents find them: by a number."""

import pytest

from flowq.blocks.reports.statuses import numbered, plain_error

CODED = "[PUPPYENGINE_ERROR_3802]: Error Converting Block Content!\nCause: no"
GENERAL = "[PUPPYENGINE_ERROR_3000]: Error Executing Edge!\nCause: "


@pytest.mark.parametrize(
    "message, shown",
    [
        (f"step 'e' failed: {CODED}", CODED),
        ('step "it\'s" failed: no host', f'{GENERAL}step "it\'s" failed: no host'),
        ("the deadline has passed", "the deadline has passed"),
        (None, "no reason was recorded"),
    ],
)
def test_error_of_a_run_has_a_number_if_an_edge_has_failed(message: str | None, shown: str) -> None:
    assert shown == plain_error(message)


@pytest.mark.parametrize("message, shown", [(CODED, CODED), ("no host", f"{GENERAL}no host")])
def test_error_of_an_edge_has_a_number(message: str, shown: str) -> None:
    assert shown == numbered(message)
