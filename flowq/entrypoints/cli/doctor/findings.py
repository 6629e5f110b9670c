"""What a check of `flowq doctor` reports."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How serious a finding is."""

    OK = "ok"
    WARNING = "warning"  #: It works; something is not as it should be.
    PROBLEM = "problem"  #: It does not work.


@dataclass(frozen=True)
class Finding:
    """The result of a check."""

    name: str
    level: Level
    text: str
    hint: str | None = None
