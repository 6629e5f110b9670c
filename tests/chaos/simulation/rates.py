"""What a seed is about: how often things go wrong, and which."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """How often things happen; drawn anew for each seed, many of them zero.

    Attributes:
        switch: Chance that a task gives way at a place where it could.
        fault: Chance that something breaks there, while faults are left.
        crash: Share of those that are the death of the worker.
        weights: Of the other events, by name.
    """

    switch: float
    fault: float
    crash: float
    faults: int
    weights: dict[str, float]


def random_rates(chance: random.Random) -> Rates:
    """Draw what this seed is about: few kinds of trouble at a time find more than all at once."""

    def some(share: float, weight: float) -> float:
        return weight if chance.random() < share else 0.0

    return Rates(
        switch=chance.choice([0.05, 0.2, 0.4, 0.6]),
        fault=chance.choice([0.0, 0.01, 0.03, 0.08]),
        crash=chance.choice([0.0, 0.3, 1.0]),
        faults=chance.choice([2, 5, 10]),
        weights={
            "lose": some(0.4, 0.5),
            "double": some(0.4, 1.0),
            "empty": some(0.2, 0.1),
            "forget": some(0.3, 0.3),
            "crash": some(0.3, 0.3),
            "cancel": some(0.3, 0.2),
            "pause": some(0.3, 0.3),
            "resume": 0.3,
            "signal": 2.0,
            "sleep": some(0.4, 0.4),
            "zombie": some(0.5, 1.0),
            "sweep": some(0.7, 0.6),
            "time": 0.8,
        },
    )
