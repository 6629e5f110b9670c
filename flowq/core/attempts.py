"""How attempts end that do not end their step."""

from enum import StrEnum


class AttemptEnd(StrEnum):
    """Why an attempt was followed by another one."""

    FAILED = "failed"  #: The step raised, and is tried again.
    PUT_OFF = "put_off"  #: What it needs was away; counts as a recovery.
    LOST = "lost"  #: Its worker died or fell silent; counts as a recovery.
    GIVEN_BACK = "given_back"  #: Its worker had to end; not counted.
    PAUSED = "paused"  #: Its run was paused while it ran; not counted.
