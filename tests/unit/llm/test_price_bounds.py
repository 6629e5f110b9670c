"""What a call with a token limit may use at most."""

from decimal import Decimal
from typing import Any

import pytest

from flowq.core.usage import Price
from flowq.llm import prices
from flowq.settings import Settings

pytest.importorskip("pydantic_ai")

from pydantic_ai.messages import ModelRequest, UserPromptPart
from pydantic_ai.models.test import TestModel

PRICES = {"test": Price(input=Decimal(1), output=Decimal(10))}


@pytest.fixture(autouse=True)
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "current_settings", lambda: Settings(prices=PRICES))


def messages(text: str) -> list[Any]:
    return [ModelRequest(parts=[UserPromptPart(text)])]


@pytest.mark.parametrize("settings", [None, {}, {"max_tokens": None}, {"temperature": 0}])
def test_call_without_a_token_limit_has_no_bound(settings: Any) -> None:
    assert prices.bound_of(TestModel(), messages("hello"), settings) is None


@pytest.mark.parametrize(
    "of_model,of_call", [({"max_tokens": 9}, {"max_tokens": 1000}), ({"max_tokens": 1000}, {})]
)
def test_limit_of_the_call_comes_before_that_of_the_model(of_model: Any, of_call: Any) -> None:
    bound = prices.bound_of(TestModel(settings=of_model), messages("word " * 600), of_call)

    assert bound is not None
    assert 2000 < bound.tokens < 2500
    assert bound.cost == (bound.tokens - 1000 + 10 * 1000) / Decimal(10**6)
    assert bound.unpriced == 0


def test_bound_of_a_model_without_a_price_is_in_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prices, "current_settings", lambda: Settings(prices={}))

    bound = prices.bound_of(TestModel(), messages("hello"), {"max_tokens": 50})

    assert bound is not None
    assert (bound.unpriced, bound.cost) == (1, Decimal(0))
    assert bound.tokens > 50
