"""Settings that cannot be are refused before anything uses them."""

import pytest

from flowq import bootstrap
from flowq.core.errors import InvalidSetting
from flowq.settings import Settings
from flowq.settings.models import cost_label_keys

TIMES = sorted(
    name for name in Settings.model_fields if name.endswith(("_seconds", "_hours", "_days"))
)


@pytest.mark.parametrize("value", ["1e10", "1e300", "inf", "nan", "-1"])
@pytest.mark.parametrize("name", TIMES)
def test_a_time_outside_the_calendar_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"FLOWQ_{name.upper()}", value)
    bootstrap.settings.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match=f"FLOWQ_{name.upper()}"):
            bootstrap.settings()
    finally:
        bootstrap.settings.cache_clear()


@pytest.mark.parametrize(
    "text,what", [("a,b,c,d,e,f", "at most 5"), ('cust"omer', "quote"), ("a\\b", "backslash")]
)
def test_cost_labels_that_cannot_be_are_refused(
    monkeypatch: pytest.MonkeyPatch, text: str, what: str
) -> None:
    monkeypatch.setenv("FLOWQ_COST_LABELS", text)
    bootstrap.settings.cache_clear()
    try:
        with pytest.raises(InvalidSetting, match=f"FLOWQ_COST_LABELS.*{what}"):
            bootstrap.settings()
    finally:
        bootstrap.settings.cache_clear()


def test_cost_labels_are_keys_between_commas() -> None:
    assert cost_label_keys(Settings(cost_labels=" customer, team ,,").cost_labels) == (
        "customer",
        "team",
    )
