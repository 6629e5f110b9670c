"""The step types of `support.json`, a blueprint that answers mails: `flowq worker support.py`."""

from typing import Any

from flowq import step

ALARMING = ("fire", "outage", "down")


@step(name="support.classify")
def classify(text: str) -> dict[str, Any]:
    """Say whether a mail is urgent."""
    return {"urgent": any(word in text.lower() for word in ALARMING)}


@step(name="support.draft")
def draft(text: str, iteration: int) -> dict[str, Any]:
    """Write an answer, a longer one each time."""
    return {"answer": f"About {text!r}: " + " ".join(["we look into it."] * iteration)}


@step(name="support.review")
def review(answer: str, words: int = 8) -> dict[str, Any]:
    """Say whether an answer is long enough."""
    return {"good": len(answer.split()) >= words}
