"""All settings: one frozen object, read once from `FLOWQ_*` variables (see docs/settings.md).

Without any of them flowq keeps everything in the folder `.flowq` of the current directory: an
embedded Valkey, a SQLite file and a folder for large results.
"""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from flowq.core.addresses.hosts import HostRule, host_rules
from flowq.core.addresses.redis import read_redis
from flowq.core.errors import InvalidSetting
from flowq.core.limits.budgets import BudgetAction, BudgetSpec
from flowq.core.usage import Price

#: What the names of times end with, in seconds.
_UNITS: Final = {"seconds": 1, "hours": 3_600, "days": 86_400}
_MAX_DURATION: Final = timedelta(days=36_525)


class Settings(BaseSettings):
    """Settings of one process. Each field is the variable `FLOWQ_` + its name in capitals."""

    model_config = SettingsConfigDict(
        env_prefix="FLOWQ_",
        frozen=True,
        env_ignore_empty=True,
        protected_namespaces=(),
        # A value may hold a password: `flowq.core.addresses.setting_errors` says which is shown.
        hide_input_in_errors=True,
    )

    home: Path = Field(
        Path(".flowq"), description="Folder of the embedded Valkey, SQLite and results."
    )
    app: str | None = Field(
        None,
        description="For the command line: the module of the Celery app whose queues steps go to, "
        "as `celery -A` takes it. `flowq --app` overrides it.",
    )
    redis_url: str | None = Field(
        None,
        description="Broker, chords and small results: `redis://…`, `rediss://…`, `unix:///…` or "
        "`sentinel://…`. None: the embedded Valkey.",
    )
    redis_prefix: str = Field(
        "",
        max_length=100,
        description="Prefix of the names of all keys and channels in Redis, so that several "
        "installations share one server; `:` is added where it ends with a letter or a number.",
    )
    database_url: str = Field(
        "",
        validate_default=True,
        description="`postgresql+psycopg://…` or `sqlite:///…`. Default: a SQLite file in `home`.",
    )
    results_url: str = Field(
        "",
        validate_default=True,
        description="Large results: `file:///…`, `memory://`, `s3://bucket/prefix`, `gs://…`, "
        "`az://…`. Default: a folder in `home`.",
    )
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
        "interrupted; and then, in a prefork pool, before its process is ended.",
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
    database_pool_size: int = Field(
        10, gt=0, description="Maximum number of database connections of one process."
    )
    database_timeout_seconds: float = Field(
        60.0,
        gt=0,
        description="Time after which a statement or transaction of flowq is given up, if the "
        "database does not answer. Not on SQLite.",
    )
    events: bool = Field(
        True,
        description="Whether runs publish events: `run.events()`, live pages, streamed text of LLM "
        "steps. 0 leaves only the end of each run.",
    )
    show_content: bool = Field(
        False,
        description="Whether the pages in Flower, and the HTTP service, show prompts, answers, "
        "inputs and outputs.",
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
    redis_pool_size: int = Field(
        50,
        gt=0,
        description="Maximum number of Redis connections of one process; further callers wait.",
    )

    model: str | None = Field(
        None,
        description="Default model of LLM steps, e.g. `openai:gpt-5-mini`; `test` "
        "answers without any provider.",
    )
    image_model: str | None = Field(
        None, description="Default model of image steps, e.g. `openai:gpt-image-1-mini`."
    )
    openai_base_url: str | None = Field(
        None,
        description="Where `openai:` models are: any server that speaks OpenAI's chat completions. "
        "None: OpenAI.",
    )
    prompts: Path | None = Field(
        None, description="Folder of prompt files. None: `prompts` beside the module of the step."
    )
    prices: dict[str, Price] = Field(
        {},
        description="Prices that override the known ones, in USD per million tokens, as JSON: "
        '`{"openai:my-model": {"input": 0.5, "output": 2}}`; also `cached`, and `call` for each '
        "call.",
    )
    strategy_queues: dict[str, str] = Field(
        {}, description='Celery queues for what steps of workflows need: `{"gpu": "cards"}`.'
    )
    fetch_hosts: str = Field(
        "",
        description="Hosts and networks that URLs of feeds and documents may reach although they "
        "are not public: `localhost:8080, intranet.example, 10.0.0.0/8`.",
    )
    blocks_files: Path | None = Field(
        None,
        description="Folder from which documents of blocks may load files. None: they may not.",
    )
    playbook_python: Literal["off", "process", "inline"] = Field(
        "process",
        description="Where Python code of playbooks runs: `process` in a fresh interpreter without "
        "environment, `inline` in the worker, for authors that are trusted as its code is, `off` "
        "nowhere.",
    )
    playbook_pages: int = Field(
        100, gt=0, le=10_000, description="Most pages that one call of a playbook asks for."
    )
    playbook_files: Path | None = Field(
        None,
        description="Folder of scripts and of SQLite and DuckDB files that playbooks may use.",
    )
    playbook_env: str = Field(
        "", description="Environment variables that playbooks may use as secrets: `A_KEY, B_KEY`."
    )
    credentials: str = Field(
        "",
        description="What playbooks may use as credentials, by name: a JSON file that only its "
        "owner may read, or `module:object`. Each is an object with a `kind` and its fields.",
    )
    image_url_hours: float = Field(
        24.0 * 7, gt=0, le=24 * 7, description="How long the signed URL of an image is valid."
    )

    run_budget_usd: Decimal | None = Field(
        None, gt=0, description="Budget in USD of a run that has no other budget."
    )
    run_budget_tokens: int | None = Field(None, gt=0, description="The same, in tokens.")
    flow_monthly_usd: Decimal | None = Field(
        None, gt=0, description="Monthly budget in USD of all runs of a flow that sets none."
    )
    flow_monthly_tokens: int | None = Field(None, gt=0, description="The same, in tokens.")
    user_monthly_usd: Decimal | None = Field(
        None, gt=0, description="Monthly budget in USD of all runs of a `user_id`."
    )
    user_monthly_tokens: int | None = Field(None, gt=0, description="The same, in tokens.")
    unknown_cost_usd: Decimal = Field(
        Decimal(0),
        ge=0,
        lt=10**9,
        description="What budgets count for a call of unknown cost, in USD: no price of the "
        "model, no reported usage, no answer.",
    )
    budget_action: BudgetAction = Field(
        BudgetAction.FAIL,
        description="What happens when a budget is spent: `fail` fails the step, `pause` "
        "pauses the run.",
    )

    @field_validator("*")
    @classmethod
    def _bounded(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a time that leads out of the calendar, where it is added to one."""
        unit = _UNITS.get(str(info.field_name).rpartition("_")[2])
        if unit is not None and value * unit > _MAX_DURATION.total_seconds():
            raise InvalidSetting("is more than 100 years", hint="see docs/settings.md")
        return value

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        try:
            return home.expanduser().resolve()
        except (RuntimeError, OSError):
            raise InvalidSetting("names a folder that cannot be") from None

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, url: str | None) -> str | None:
        if url is None or not url.strip():
            return None
        read_redis(url)
        return url.strip()

    @field_validator("redis_prefix")
    @classmethod
    def _prefix(cls, prefix: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9:_.{}-]*", prefix):
            raise InvalidSetting("may have letters, digits and : _ . - { } in it")
        # As Celery's result backend ends a prefix.
        return f"{prefix}:" if prefix and prefix[-1] not in ":_-." else prefix

    @field_validator("openai_base_url")
    @classmethod
    def _http(cls, url: str | None) -> str | None:
        if url is None or not url.strip():
            return None
        try:
            parts = urlsplit(url.strip())
            _ = parts.port  # raises when it is none
        except ValueError:
            raise InvalidSetting("has a wrong host, or a port that is not a number") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise InvalidSetting("is no address of a server; e.g. https://models.example.com/v1")
        return url.strip()

    @field_validator("database_url")
    @classmethod
    def _database(cls, url: str, info: object) -> str:
        home: Path = info.data.get("home", Path())  # type: ignore[attr-defined]
        url = url.strip() or f"sqlite:///{home / 'flowq.db'}"
        hint = "e.g. postgresql+psycopg://user@host/name, or sqlite:////path/to/file.db"
        try:
            parts = make_url(url)
        except (ArgumentError, ValueError):
            raise InvalidSetting("cannot be read as an address", hint=hint) from None
        if "@" in (parts.host or ""):
            raise InvalidSetting(
                "has a user or password that is not percent-encoded",
                hint="/ is %2F, @ is %40, : is %3A",
            )
        return url

    @field_validator("results_url")
    @classmethod
    def _results(cls, url: str, info: object) -> str:
        home: Path = info.data.get("home", Path())  # type: ignore[attr-defined]
        return url.strip() or (home / "results").as_uri()

    @field_validator("fetch_hosts")
    @classmethod
    def _hosts(cls, text: str) -> str:
        host_rules(text)
        return text

    @property
    def fetch_rules(self) -> tuple[HostRule, ...]:
        """What may be fetched from although it is not public."""
        return host_rules(self.fetch_hosts)

    @property
    def lease(self) -> timedelta:
        """Length of a lease."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def run_budget(self) -> BudgetSpec | None:
        """What a run may spend that has no other budget."""
        return self._budget(self.run_budget_usd, self.run_budget_tokens)

    @property
    def flow_budget(self) -> BudgetSpec | None:
        """What a flow may spend in a month that says nothing itself."""
        return self._budget(self.flow_monthly_usd, self.flow_monthly_tokens)

    @property
    def user_budget(self) -> BudgetSpec | None:
        """What a user may spend in a month."""
        return self._budget(self.user_monthly_usd, self.user_monthly_tokens)

    def _budget(self, usd: Decimal | None, tokens: int | None) -> BudgetSpec | None:
        if usd is None and tokens is None:
            return None
        return BudgetSpec(usd=usd, tokens=tokens, action=self.budget_action)

    @property
    def sweep_pause(self) -> timedelta:
        """Pause between two passes: a lost worker's steps are back within 1.5 leases."""
        return min(timedelta(seconds=self.sweep_seconds), self.lease / 4)

    @property
    def retention(self) -> timedelta | None:
        """How long ended runs are kept; None forever."""
        return timedelta(days=self.retention_days) if self.retention_days else None

    @property
    def resend_after(self) -> timedelta:
        """How long a queued step may stay unclaimed before it is sent again."""
        return timedelta(seconds=self.resend_seconds)
