"""What a tab of a run's page is asked, and what it answers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flowq.core.states import StepState

#: What the template of a tab shows, by name.
Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of a page says beside its path."""

    status: StepState | None = None
    text: str = ""
    after: int | None = None
    before: int | None = None
    link: Callable[..., str | None] = lambda *_: None  #: From the name of a rule to an address.
