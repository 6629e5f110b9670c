"""What tokens cost: by the setting, by the list, or unknown."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from flowq.core.usage import AppliedPrice, CostStatus, Price, Reported, Tokens, reported
from flowq.llm import prices as priced


def cost_of(*args: Any, **options: Any) -> tuple[Decimal | None, CostStatus]:
    """Return the cost of a call, without its price."""
    amount, status, price = priced.cost_of(*args, **options)
    assert (price is None) == (amount is None)
    return amount, status


def cost(model: str, tokens: Tokens, provider: str = "openai", **prices: Price) -> Any:
    from genai_prices import Usage

    usage = Usage(
        input_tokens=tokens.input, output_tokens=tokens.output, cache_read_tokens=tokens.cached
    )
    named = {name.replace("_", ":"): price for name, price in prices.items()}
    return cost_of(provider, model, usage_of(tokens), usage, prices=named)


def usage_of(tokens: Tokens) -> Reported:
    return reported(tokens.input, tokens.output, tokens.cached, says_something=True)


def test_known_model_has_its_price_without_a_network() -> None:
    assert (Decimal("0.007500000"), CostStatus.KNOWN) == cost("gpt-4o", Tokens(1000, 500))


def test_cached_tokens_cost_less() -> None:
    whole, _ = cost("gpt-4o", Tokens(1000, 1))
    cached, _ = cost("gpt-4o", Tokens(1000, 1, 800))

    assert cached < whole


def test_unknown_model_has_no_price() -> None:
    assert (None, CostStatus.UNKNOWN) == cost("nobody-knows", Tokens(1000, 500))


def test_missing_usage_has_no_price() -> None:
    assert (None, CostStatus.UNKNOWN) == cost("gpt-4o", Tokens())


def test_setting_comes_before_the_list() -> None:
    own = Price(input=Decimal(1), output=Decimal(2), cached=Decimal("0.5"), call=Decimal("0.01"))

    named = cost("gpt-4o", Tokens(1_000_000, 500_000, 200_000), openai_gpt_4o=own)
    [spent] = {
        cost_of(
            "openai", "gpt-4o", usage_of(Tokens(1_000_000, 500_000, 200_000)), None, prices=prices
        )
        for prices in ({"openai:gpt-4o": own}, {"gpt-4o": own})
    }

    assert (Decimal("1.91"), CostStatus.KNOWN) == spent
    assert named != spent  # its name was another


def test_a_price_of_nothing_is_known_to_be_nothing() -> None:
    assert (Decimal(0), CostStatus.KNOWN) == cost_of(
        "openai", "own", usage_of(Tokens(5, 5)), None, prices={"own": Price()}
    )


def test_cached_tokens_cost_like_others_when_nothing_is_said() -> None:
    assert Decimal(1) == Price(input=Decimal(1)).of(usage_of(Tokens(1_000_000, 0, 500_000)))


def test_no_price_is_negative() -> None:
    with pytest.raises(ValidationError):
        Price(input=Decimal(-1))


OWN = Price(input=Decimal(5), output=Decimal(25))
counts = st.integers(-10, 10) | st.integers() | st.floats() | st.booleans() | st.none() | st.text()


@given(read=counts, written=counts, cached=counts, says_something=st.booleans())
def test_a_cost_is_known_only_if_all_that_it_depends_on_is(
    read: Any, written: Any, cached: Any, *, says_something: bool
) -> None:
    """No count of a server makes a cost of 0, or a negative one, or one that no column holds."""
    used = reported(read, written, cached, says_something=says_something)

    spent, status = cost_of("own", "m", used, None, prices={"m": OWN})

    assert (spent is None) == (status is CostStatus.UNKNOWN)
    assert spent is None or 0 < spent < 10**9
    assert 0 <= used.tokens.cached <= used.tokens.input < 2**31
    assert 0 <= used.tokens.output < 2**31


@pytest.mark.parametrize(
    "counts, price, known",
    [
        ((0, 0, 0), OWN, False),
        ((10, 0, 0), OWN, False),
        ((0, 10, 0), OWN, False),
        ((10, 5, 11), OWN, False),
        ((-1, 5, 0), OWN, False),
        ((10, 2**31, 0), OWN, False),
        ((10, 5, 10), OWN, True),
        ((10, 0, 0), Price(input=Decimal(5)), True),
        ((0, 10, 0), Price(output=Decimal(5)), True),
        ((0, 10, 0), Price(cached=Decimal(5)), False),
        ((0, 0, 0), Price(call=Decimal("0.04")), True),
        ((0, 0, 0), Price(call=Decimal("0.04"), input=Decimal(5)), False),
        ((0, 0, 0), Price(), True),
    ],
)
def test_what_a_price_needs(counts: tuple[int, int, int], price: Price, *, known: bool) -> None:
    used = reported(*counts, says_something=True)

    spent, status = cost_of("own", "m", used, None, prices={"m": price})

    assert (known, known) == (spent is not None, status is CostStatus.KNOWN)


def test_an_answer_that_says_nothing_has_no_output() -> None:
    used = reported(1_000_000, 0, 0, says_something=False)

    assert (Decimal(5), CostStatus.KNOWN) == cost_of("own", "m", used, None, prices={"m": OWN})


def test_what_the_list_cannot_price_is_unknown() -> None:
    used = reported(10, 5, 0, says_something=True)

    usage = SimpleNamespace(input_tokens="ten", output_tokens=5)

    assert (None, CostStatus.UNKNOWN) == cost_of("openai", "gpt-4o", used, usage, prices={})


def test_price_that_a_cost_was_computed_with_is_returned() -> None:
    tokens = Tokens(1000, 10)
    own = Price(input=Decimal("0.50"), output=Decimal(2), call=Decimal("0.01"))

    *_, by_setting = priced.cost_of("a", "m", usage_of(tokens), None, prices={"m": own})
    assert by_setting == AppliedPrice("FLOWQ_PRICES", "$0.5/input MTok, $2/output MTok, $0.01/call")

    from genai_prices import Usage

    usage = Usage(input_tokens=1000, output_tokens=10)
    *_, listed = priced.cost_of("openai", "gpt-5-mini", usage_of(tokens), usage, prices={})
    assert listed is not None
    assert listed.source.startswith("genai-prices 0.")
    assert "$0.25/input MTok, $2/output MTok" in listed.rates
