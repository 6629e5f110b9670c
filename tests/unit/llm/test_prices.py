"""What tokens cost: by the setting, by the list, or unknown."""

from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from flowq.core.prices import Price
from flowq.core.usage import CostStatus, Tokens
from flowq.llm.prices import cost_of


def cost(model: str, tokens: Tokens, provider: str = "openai", **prices: Price) -> Any:
    from genai_prices import Usage

    usage = Usage(
        input_tokens=tokens.input, output_tokens=tokens.output, cache_read_tokens=tokens.cached
    )
    named = {name.replace("_", ":"): price for name, price in prices.items()}
    return cost_of(provider, model, tokens, usage, prices=named)


def test_known_model_has_its_price_without_a_network() -> None:
    assert (Decimal("0.007500000"), CostStatus.KNOWN) == cost("gpt-4o", Tokens(1000, 500))


def test_cached_tokens_cost_less() -> None:
    whole, _ = cost("gpt-4o", Tokens(1000, 0))
    cached, _ = cost("gpt-4o", Tokens(1000, 0, 800))

    assert cached < whole


def test_unknown_model_has_no_price() -> None:
    assert (None, CostStatus.UNKNOWN) == cost("nobody-knows", Tokens(1000, 500))


def test_no_word_of_what_was_used_is_no_price() -> None:
    assert (None, CostStatus.UNKNOWN) == cost("gpt-4o", Tokens())


def test_setting_comes_before_the_list() -> None:
    own = Price(input=Decimal(1), output=Decimal(2), cached=Decimal("0.5"), call=Decimal("0.01"))

    named = cost("gpt-4o", Tokens(1_000_000, 500_000, 200_000), openai_gpt_4o=own)
    [spent] = {
        cost_of("openai", "gpt-4o", Tokens(1_000_000, 500_000, 200_000), None, prices=prices)
        for prices in ({"openai:gpt-4o": own}, {"gpt-4o": own})
    }

    assert (Decimal("1.91"), CostStatus.KNOWN) == spent
    assert named != spent  # its name was another


def test_a_price_of_nothing_is_known_to_be_nothing() -> None:
    assert (Decimal(0), CostStatus.KNOWN) == cost_of(
        "openai", "own", Tokens(5, 5), None, prices={"own": Price()}
    )


def test_cached_tokens_cost_like_others_when_nothing_is_said() -> None:
    assert Decimal(1) == Price(input=Decimal(1)).of(Tokens(1_000_000, 0, 500_000))


def test_no_price_is_negative() -> None:
    with pytest.raises(ValidationError):
        Price(input=Decimal(-1))
