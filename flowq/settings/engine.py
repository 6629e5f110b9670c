"""How runs are executed: sizes, leases, periods, limits of a process, events."""

from datetime import timedelta
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings


class EngineSettings(BaseSettings):
    """What the engine obeys."""

    result_threshold_bytes: int = Field(
        1024 * 1024, ge=0, description="A result with more encoded bytes than this is large."
    )
    result_inline_bytes: int = Field(
        1024,
        ge=0,
        description="Results of up to this many bytes are read with their row and not kept "
        "in Redis.",
    )
    result_ttl_seconds: int = Field(
        24 * 3600,
        gt=0,
        description="How long Redis keeps a small result; the row keeps it as long as the run.",
    )
    input_limit_bytes: int = Field(
        1024 * 1024, gt=0, description="Largest inputs of a run or of a call, in bytes as JSON."
    )
    chord_from: int = Field(
        8,
        ge=2,
        description="From this many steps on a batch is a chord. The steps of a smaller one are "
        "sent as a group and advance the run by themselves: for them a chord costs more.",
    )
    lease_seconds: float = Field(
        30.0, gt=0, description="A step whose lease is not renewed for this long is requeued."
    )
    resend_seconds: float = Field(
        15.0,
        gt=0,
        description="A queued step that no worker took is resent after this; doubles each time.",
    )
    resend_max_seconds: float = Field(
        300.0, gt=0, description="Longest time between two messages for a queued step."
    )
    sweep_seconds: float = Field(
        5.0,
        gt=0,
        description="Time between two passes of the sweeper; at most a quarter of the lease.",
    )
    share_window: int = Field(
        20,
        gt=0,
        le=1_000,
        description="How many steps of one share and step type are sent and not claimed yet, "
        "at most; the others wait in their line.",
    )
    max_recoveries: int = Field(
        5, ge=0, description="How often a step is recovered from a lost worker before it fails."
    )
    cancel_seconds: float = Field(
        2.0, gt=0, description="How often a worker checks whether its running steps were cancelled."
    )
    cancel_grace_seconds: float = Field(
        10.0,
        ge=0,
        description="How long a running step that was cancelled may continue before it is "
        "interrupted; and then, in a prefork pool, before its process is killed.",
    )
    cleanup_seconds: float = Field(
        60.0, gt=0, description="Time for a cancelled program to run its `finally` blocks."
    )
    program_calls: int = Field(
        10_000,
        gt=0,
        description="Maximum number of calls of a program in one run; a longer loop continues with "
        "`flowq.continue_as_new`.",
    )
    live_programs: int = Field(
        500,
        ge=0,
        description="How many waiting programs a process keeps in memory; others are replayed.",
    )
    retention_days: float = Field(
        0.0,
        ge=0,
        description="Ended runs are deleted after this many days, with their steps and results. "
        "0 keeps them forever.",
    )
    orphan_hours: float = Field(
        24.0,
        gt=0,
        description="Large results of lost attempts and deleted runs, which no step references, "
        "are deleted after this many hours.",
    )
    outage_wait_seconds: float = Field(
        60.0,
        ge=0,
        description="How long a step that has finished, or is about to begin, waits for an "
        "unavailable database or store.",
    )
    stop_grace_seconds: float = Field(
        25.0,
        ge=0,
        description="How long a stopping worker lets its steps run before it releases them.",
    )
    events: bool = Field(
        True,
        description="Whether runs publish events: `run.events()`, live pages, streamed text of LLM "
        "steps. 0 leaves only the end of each run.",
    )
    show_content: bool = Field(
        False,
        description="Whether the pages in Flower, and the HTTP service, show prompts, answers, "
        "inputs, outputs and logged lines.",
    )
    logs: bool = Field(
        True, description="Whether workers keep what steps log: `flowq runs logs`, pages in Flower."
    )
    logs_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = Field(
        "INFO",
        description="The lowest level that is kept. The levels of the worker's loggers come first: "
        "start the worker with `--loglevel=DEBUG` to keep DEBUG.",
    )
    logs_limit_bytes: int = Field(
        1024 * 1024,
        ge=64 * 1024,
        description="How much is kept of what one attempt logs: its first lines and its last ones.",
    )
    logs_days: float = Field(
        0.0,
        ge=0,
        description="Logged lines are deleted after this many days; 0 keeps them as long as their "
        "run.",
    )
    events_ttl_seconds: int = Field(
        24 * 3600,
        gt=0,
        description="How long Redis keeps the events of a run after the last one. Deleted events "
        "are rebuilt from the rows when someone reads them, except streamed text.",
    )
    events_max_entries: int = Field(
        10_000,
        gt=0,
        description="Approximate number of entries that Redis keeps of one run; an entry has the "
        "events of one process at one moment.",
    )

    @property
    def lease(self) -> timedelta:
        """Length of a lease."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def sweep_pause(self) -> timedelta:
        """Pause between two passes: a lost worker's steps are back within 1.5 leases."""
        return min(timedelta(seconds=self.sweep_seconds), self.lease / 4)

    @property
    def retention(self) -> timedelta | None:
        """How long ended runs are kept; None forever."""
        return timedelta(days=self.retention_days) if self.retention_days else None

    @property
    def logs_kept(self) -> timedelta | None:
        """How long logged lines are kept; None as long as their run."""
        return timedelta(days=self.logs_days) if self.logs_days else None

    @property
    def resend_after(self) -> timedelta:
        """How long a queued step may stay unclaimed before it is sent again."""
        return timedelta(seconds=self.resend_seconds)
