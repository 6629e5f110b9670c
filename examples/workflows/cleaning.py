"""Cleans a CSV of orders row by row, over four workers; composed here, edited as JSON.

    cd examples/workflows
    python cleaning.py orders.csv > cleaning.json       some data, and the workflow
    flowq worker cleaning.py                            as often as you like
    flowq workflow run cleaning.json --types cleaning.py -p path=orders.csv --wait

Edit `cleaning.json` in between: the settings of each step are in its `config`.
"""

import csv
import sys
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from flowq.workflows import Workflow, WorkflowBuilder, step_type

CITIES = ("Paris", "rome", " Oslo ", "LIMA")


@step_type("read_csv", name="Read a CSV file", output_type="list", metadata={"category": "load"})
def read_csv(path: str, delimiter: str = ",") -> list[dict[str, str]]:
    """Read the rows of a file as mappings."""
    with Path(path).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


@step_type("clean_order", execution_mode="row_iterative", metadata={"category": "transform"})
def clean_order(order: dict[str, str], smallest: int = 1) -> dict[str, Any]:
    """Correct one order, or say what is wrong with it."""
    try:
        count, price = int(order["count"]), Decimal(order["price"].replace(",", "."))
    except (ValueError, InvalidOperation):
        raise ValueError(f"order {order['id']}: no number") from None
    if count < smallest:
        raise ValueError(f"order {order['id']}: count is {count}")
    city = order["city"].strip().title()
    return {"id": order["id"], "city": city, "total": str(count * price)}


@step_type("unique", metadata={"category": "transform"})
def unique(orders: list[dict[str, Any]], key: str = "id") -> list[dict[str, Any]]:
    """Keep the first order of each key."""
    return list({order[key]: order for order in reversed(orders)}.values())[::-1]


@step_type("sum_by", inputs=["orders"], metadata={"category": "analysis"})
def sum_by(orders: list[dict[str, Any]], field: str = "city") -> dict[str, str]:
    """Sum the totals of orders by a field."""
    sums: dict[str, Decimal] = {}
    for order in orders:
        sums[order[field]] = sums.get(order[field], Decimal(0)) + Decimal(order["total"])
    return {name: str(total) for name, total in sorted(sums.items())}


def compose() -> Workflow:
    """Return the workflow."""
    return (
        WorkflowBuilder("cleaning")
        .add_step("read_csv", id="orders", label="Read the orders")
        .add_step(
            "clean_order",
            id="clean",
            on_error="collect",
            execution_strategy="distribute across 4 workers",
        )
        .add_step("unique", id="once", inputs={"orders": "clean.ok"})
        .add_step("sum_by", id="sums", config={"field": "city"})
        .build()
    )


def write_orders(path: Path, count: int = 4000) -> None:
    """Write orders as people type them: every 100th has no price, every 50th comes twice."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "city", "count", "price"])
        for number in range(count):
            price = "?" if number % 100 == 0 else f"{number % 7},50"
            row = [number, CITIES[number % len(CITIES)], 1 + number % 3, price]
            rows.writerows([row] * (2 if number % 50 == 1 else 1))


if __name__ == "__main__":
    write_orders(Path(sys.argv[1]))
    sys.stdout.write(compose().to_json(indent=2) + "\n")
