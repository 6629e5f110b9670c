"""Flows of a shop with all that an operator meets; `Shop` puts this file into a folder."""

# mypy: disable-error-code="misc, no-any-return"

import time
from pathlib import Path

from pydantic import BaseModel

import flowq
from flowq import Budget, StructuredStep, UnstructuredStep, flow, step


class Approval(BaseModel):
    """What an editor answers."""

    approved: bool
    note: str = ""


class CardDeclined(Exception):
    """The bank said no."""


@step
def load_orders(count: int) -> list[int]:
    return list(range(count))


@step(retries=1, retry_delay=0.01)
def price_order(number: int, pace: float, gate: str = "") -> int:
    """Price an order; each 250 of them wait for a file, if a gate is given."""
    while gate and not Path(f"{gate}-{number // 250}").exists():
        time.sleep(0.02)
    if number == 3 and step.context().attempt == 1:
        raise ConnectionError("the price list did not answer")
    time.sleep(pace)
    return 10 * number


@step
def sum_up(prices: list[int]) -> int:
    return sum(prices)


@step
def warn_manager(total: int) -> int:
    return total


@step(retries=2, retry_delay=0.2)
def charge_card(order: int) -> int:
    time.sleep(0.2)
    if order == 3:
        raise CardDeclined("order 3: the bank declined the card")
    return order


@step
def send_receipts(orders: list[int]) -> int:
    return len(orders)


@step
def import_file(file: str) -> str:
    while not Path(file).exists() and not step.context().cancelled:
        time.sleep(0.02)
    return file


@step(retries=2, retry_delay=0.3)
def fetch(source: str, pace: float) -> str:
    time.sleep(pace)
    if source == "weather" and step.context().attempt == 1:
        raise ConnectionError("the weather did not answer")
    return source


@step
def forecast(sources: list[str], pace: float) -> str:
    time.sleep(pace)
    return " and ".join(sources)


@step
def make_plan(total: int, outlook: str) -> str:
    return f"{total}, {outlook}"


@step
def publish(text: str) -> str:
    return text


class SummariseArticle(UnstructuredStep):
    step_name = "summarise_article"
    prompt_file = "summarise.txt"

    class Inputs(BaseModel):
        text: str


class DescribeArticle(StructuredStep):
    step_name = "describe_article"
    prompt_file = "describe.txt"

    class Inputs(BaseModel):
        text: str

    class Outputs(BaseModel):
        title: str
        key_points: list[str]


@flow
def price_orders(count: int, pace: float, gate: str = "") -> int:
    total = sum_up(price_order.map(load_orders(count), pace=pace, gate=gate))
    return warn_manager.options(when=total < 0)(total)


@flow
def plan_season(count: int, pace: float) -> dict[str, object]:
    weather = fetch.options(key="fetch_weather")("weather", pace)
    trends = fetch.options(key="fetch_trends")("trends", 2 * pace)
    total = sum_up(price_order.map(load_orders(count), pace=pace))
    plan = make_plan(total, forecast([weather, trends], pace))
    return {"plan": publish(plan), "warned": warn_manager.options(when=total < 0)(total)}


@flow
def charge_cards(count: int) -> int:
    return send_receipts(charge_card.map(load_orders(count)))


@flow
def close_day(count: int) -> int:
    """A child run fails, and so does this."""
    return warn_manager(charge_cards(count))


@flow
def import_catalogue(file: str) -> str:
    return publish(import_file(file))


@flow(budget=Budget(usd=2, on_exceeded="pause"))
async def write_article(text: str) -> str:
    summary = await SummariseArticle().execute({"text": text})
    described = await DescribeArticle().execute({"text": summary.output_content})
    answer = await flowq.signal("approve", Approval)
    return await publish(f"{described.output_content.title}: {answer.note}")
