"""Calls of models: where they go, what they cost, and the default budgets."""

from decimal import Decimal
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from flowq.core.errors import InvalidSetting
from flowq.core.limits.budgets import DEFAULT_WARN_AT, BudgetAction, BudgetSpec
from flowq.core.usage import Price

#: Each key costs a query at each update of the metrics, and series.
_MAX_COST_LABELS: Final = 5


def cost_label_keys(text: str) -> tuple[str, ...]:
    """Return the keys in FLOWQ_COST_LABELS."""
    return tuple(key for part in text.split(",") if (key := part.strip()))


class ModelSettings(BaseSettings):
    """What steps that call models obey."""

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
    keep_prompts: bool = Field(
        True,
        description="Whether the prompt and the answer of each call of a step are kept in "
        "`llm_requests`, 32,768 characters of each; never those of a playbook's tool `llm`.",
    )
    prices: dict[str, Price] = Field(
        {},
        description="Prices that override the known ones, in USD per million tokens, as JSON: "
        '`{"openai:my-model": {"input": 0.5, "output": 2}}`; also `cached`, and `call` for each '
        "call.",
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
    budget_warn_at: float = Field(
        DEFAULT_WARN_AT,
        ge=0,
        lt=1,
        description="Share of the budgets of these settings at which a warning is given. 0: none.",
    )

    cost_labels: str = Field(
        "",
        description="Keys of metadata by which Flower's `/metrics` has series of cost: "
        "`customer, team`. All who may read that page see their values.",
    )

    @field_validator("cost_labels")
    @classmethod
    def _labels(cls, text: str) -> str:
        keys = cost_label_keys(text)
        if len(keys) > _MAX_COST_LABELS:
            raise InvalidSetting(f"names {len(keys)} keys; at most {_MAX_COST_LABELS} are possible")
        if any('"' in key or "\\" in key for key in keys):
            raise InvalidSetting("has a quote or a backslash in a key")
        return text

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
        warn_at = self.budget_warn_at or None
        return BudgetSpec(usd=usd, tokens=tokens, action=self.budget_action, warn_at=warn_at)
