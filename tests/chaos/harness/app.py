"""The flows, on workers that the environment disturbs: `celery -A tests.chaos.harness.app`.

CHAOS_MESSAGES="drop=0.3 copy=0.3 hold=0.3 seed=1"  what becomes of each message that is published
CHAOS_FAULTS="after_claim:kill@2"                   what breaks: see `tests.tools.faults.text`
CHAOS_CLOCK="3600"                                  seconds by which this worker's clock is ahead
"""

import os
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

from kombu import Producer

import flowq
from tests.chaos.harness import documents, flows, model_flows, playbooks
from tests.tools.faults.points import install
from tests.tools.faults.text import hook, parse


def disturb_messages(drop: float, copy: float, hold: float, seed: int) -> None:
    """Lose messages, publish some three times, and some only after the next one."""
    publish = Producer.publish
    random = Random(f"{seed} {os.getpid()}")
    held: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def disturbed(self: Producer, *args: Any, **kwargs: Any) -> Any:
        chance = random.random()
        if chance < drop:
            return None
        if chance < drop + hold:
            held.append((args, kwargs))
            return None
        answer = None
        for _ in range(3 if chance < drop + hold + copy else 1):
            answer = publish(self, *args, **kwargs)
        while held:
            late_args, late_kwargs = held.pop()
            publish(self, *late_args, **late_kwargs)
        return answer

    Producer.publish = disturbed  # type: ignore[method-assign]


def skew_clock(seconds: float) -> None:
    """Put every `time.time` of this process ahead, wherever a module has kept it."""
    right = time.time

    def skewed() -> float:
        return right() + seconds

    for module in list(sys.modules.values()):
        for name, value in list(vars(module).items()):
            if value is right:
                setattr(module, name, skewed)


if asked := os.environ.get("CHAOS_MESSAGES"):
    given = dict(part.split("=") for part in asked.split())
    disturb_messages(
        float(given["drop"]), float(given["copy"]), float(given["hold"]), int(given["seed"])
    )
app = flowq.celery_app()
known = (documents, flows, model_flows)
flowq.use(playbooks.traced)
if broken := os.environ.get("CHAOS_FAULTS"):
    install(hook(parse(broken), Path(os.environ["FLOWQ_HOME"]) / "faults"))
if ahead := os.environ.get("CHAOS_CLOCK"):
    skew_clock(float(ahead))
