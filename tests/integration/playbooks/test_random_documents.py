"""N56: whatever a document says, its program decides the same again, from any place in its history.

And a reader of its log sees the begin of the whole log, whenever it reads. `make chaos` draws more.
"""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.integration.playbooks import test_program
from tests.tools.playbooks.busy import busy_documents, check_any_order
from tests.tools.playbooks.strategies import documents

inline = test_program.settings


@given(busy_documents(), st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_busy_documents_are_deterministic_in_any_order(document: Any, seed: int) -> None:
    check_any_order(document, seed)


@given(documents(runnable=True), st.integers(0, 2**16))
@settings(max_examples=15, deadline=None)
def test_documents_with_all_sugar_are_deterministic_in_any_order(document: Any, seed: int) -> None:
    check_any_order(document, seed)
